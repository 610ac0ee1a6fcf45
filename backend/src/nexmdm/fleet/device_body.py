"""Bodies of devices: one that is refused says in the log and in a metric who sent it and what was wrong with it.

Without this a device with one bad sensor looks like a dead one. It repeats no value, and no name that was made up.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar
from uuid import UUID

from fastapi import Request
from pydantic import BaseModel

from nexmdm.fleet import metrics
from nexmdm.fleet.events import DEVICE_BODY_REFUSED
from nexmdm.http.json_body import JsonBody
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import Problem

Body = TypeVar("Body", bound=BaseModel)

_WHOLE: Final = "/body"


class DeviceBody(JsonBody[Body]):
    """The body of one device route, which is given by its path."""

    def __init__(self, shape: type[Body], path: str) -> None:
        super().__init__(shape)
        members = [f"{_WHOLE}/{name}" for name in shape.model_fields]
        # Every series that there can be, from the start: a rate over the first refusal is right.
        self._refused = {pointer: metrics.device_bodies_refused.labels(path, pointer) for pointer in (_WHOLE, *members)}

    async def of(self, request: Request, *, device_id: UUID | None = None, token_id: UUID | None = None) -> Body:
        """The body of a request that this device, or the holder of this enrolment token, has sent.

        Raises:
            Problem: what `JsonBody` raises.
        """
        try:
            return await self(request)
        except Problem as problem:
            pointers = list(dict.fromkeys(error["pointer"] for error in problem.errors or ())) or [_WHOLE]
            for member in {self._member(pointer) for pointer in pointers}:
                self._refused[member].inc()
            who: dict[str, Any] = {"device_id": device_id, "token_id": token_id}
            emit(DEVICE_BODY_REFUSED, "warning", **who, code=problem.code, pointers=pointers)
            raise

    def _member(self, pointer: str) -> str:
        """The member of the body that the pointer is about or leads into."""
        member = "/".join(pointer.split("/")[:3])
        return member if member in self._refused else _WHOLE
