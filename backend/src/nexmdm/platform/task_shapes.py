"""What of a task is asked for: the bodies of requests."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from nexmdm.http.types import FREE_TEXT, Id, Maybe, Moment, Shape, Whole
from nexmdm.platform.types import AGENT_ID, PRIORITIES, Priority, RequestState

_MOST_BYTES: Final = 64 * 1024
_MOST_MEMBERS: Final = 256  # and the longest name of one
_OBJECT: Final[dict[str, Any]] = {
    "type": "object",
    "maxProperties": _MOST_MEMBERS,
    "propertyNames": {"maxLength": _MOST_MEMBERS},
    "additionalProperties": {},
}


def _as_json(members: object) -> str:
    """As it is stored: two that are equal are the same text."""
    if not isinstance(members, dict):
        raise PydanticCustomError("dict_type", "Input should be an object")
    if len(members) > _MOST_MEMBERS or any(len(name) > _MOST_MEMBERS for name in members):
        raise PydanticCustomError("too_long", "At most 256 members, with names of at most 256 characters")
    try:
        text = json.dumps(members, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    except ValueError:
        raise PydanticCustomError("finite_number", "Each number has to be finite") from None
    if len(text.encode()) > _MOST_BYTES:
        raise PydanticCustomError("too_long", "At most 65536 bytes of JSON")
    return text


Members = Annotated[str, BeforeValidator(_as_json), WithJsonSchema(_OBJECT)]  # JSON, once it is validated
Executor = Annotated[str, Field(pattern=f"^{AGENT_ID}$")]
TaskType = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")]
ErrorText = Annotated[str, Field(pattern=FREE_TEXT, max_length=2000)]
IdempotencyKey = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,255}$")]
Backoff = Annotated[float, Field(ge=0, le=86_400)]
LeaseSeconds = Annotated[float, Field(ge=5, le=3600)]


class NewTask(Shape):
    """A task for an executor. With a key a repeat is answered with the first task."""

    executor: Executor
    task_type: TaskType
    payload: Members = Field(default="{}", json_schema_extra={"default": {}})
    priority: Priority = "normal"
    request_state: RequestState = "pending"
    deadline: Maybe[Moment] = None
    not_before: Maybe[Moment] = None
    idempotency_key: Maybe[IdempotencyKey] = None
    max_attempts: Annotated[int, Whole(1, 25)] = 3
    backoff_base_s: Backoff = 1
    backoff_cap_s: Backoff = 300

    @property
    def digest(self) -> str | None:
        """Of what was given, where a repeat has to be told from another task."""
        given = repr(sorted((name, getattr(self, name)) for name in self.model_fields_set))
        return None if self.idempotency_key is None else sha256(given.encode()).hexdigest()

    def values(self) -> tuple[Any, ...]:
        """As `task_states.submit` wants them, after the owner."""
        return (
            self.executor, self.task_type, self.payload, PRIORITIES.index(self.priority), self.request_state,
            self.not_before, self.deadline, self.idempotency_key, self.digest, self.max_attempts,
            self.backoff_base_s, self.backoff_cap_s,
        )  # fmt: skip


class ToClassify(Shape):
    """A priority, and the state of the request behind it."""

    priority: Priority = "normal"
    request_state: RequestState = "pending"


class Claim(Shape):
    """An executor that looks for work."""

    executor: Executor
    limit: Annotated[int, Whole(1, 100)] = 1
    lease_s: LeaseSeconds = 30
    wait_s: Annotated[float, Field(ge=0, le=20)] = 0
    generation: Maybe[Annotated[int, Whole(0, 2**63 - 1)]] = None


class Held(Shape):
    """The lease of an executor."""

    lease_token: Id


class Completion(Held):
    """The end of a task that was done."""

    result: Maybe[Members] = None


class Failure(Held):
    """The end of an attempt. `cancelled`: the executor has stopped because it was asked to."""

    error: ErrorText
    retryable: bool = True
    cancelled: bool = False
