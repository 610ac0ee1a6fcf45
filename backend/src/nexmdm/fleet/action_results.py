"""The result that a device reports of a command."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import orjson
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field, StringConstraints

from nexmdm.fleet import dispatch_states, metrics
from nexmdm.fleet.auth import CurrentDevice, DescribeDevice, stale_device
from nexmdm.fleet.device_body import DeviceBody
from nexmdm.fleet.device_tokens import DeviceIdentity
from nexmdm.fleet.events import ACTION_RESULT_INGEST, ACTION_RESULT_REPLAY
from nexmdm.fleet.problems import DISPATCH_NOT_FOUND
from nexmdm.http.problems import OF_A_BODY, OF_A_TOKEN
from nexmdm.http.runtime import Session
from nexmdm.http.types import FREE_TEXT, Maybe, Moment, RequestId, Shape
from nexmdm.kernel.database import Operation
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import Problem, answers

router = APIRouter(tags=["devices"], dependencies=[DescribeDevice])

Message = Annotated[str, StringConstraints(pattern=FREE_TEXT, max_length=2000)]
DataKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
DataText = Annotated[str, StringConstraints(pattern=FREE_TEXT, max_length=1000)]
DataInteger = Annotated[int, Field(ge=-(10**15), le=10**15)]
DataNumber = Annotated[float, Field(ge=-1e15, le=1e15)]
_CLOSED = Field(max_length=32, json_schema_extra={"additionalProperties": False})


class ActionResult(Shape):
    """What a device did with a command."""

    request_id: RequestId
    outcome: Literal["ok", "error"]
    message: Maybe[Message] = None
    finished_at: Maybe[Moment] = None
    data: Maybe[Annotated[dict[DataKey, DataText | bool | DataInteger | DataNumber], _CLOSED]] = None


class Completion(BaseModel):
    """The completion that is on record; `replayed` where an earlier report had made it."""

    request_id: str
    completed_at: datetime
    replayed: bool


PATH: Final = "/v1/action-result"
_result = DeviceBody(ActionResult, PATH)


async def _reported(request: Request, device: CurrentDevice) -> ActionResult:
    return await _result.of(request, device_id=device.device_id)


async def complete(request: Request, session: Session, device: DeviceIdentity, result: ActionResult) -> Completion:
    """Complete a dispatch of this device, once; a repeat gives the first completion.

    Raises:
        Problem: `dispatch_not_found`, also for another device's; `token_invalid` for a token that has died.
    """
    with Operation("update", "fcm_dispatches", request_id=result.request_id) as operation:
        row = await dispatch_states.complete(
            session,
            {
                "device_id": device.device_id,
                "token_version": device.token_version,
                "request_id": result.request_id,
                "outcome": result.outcome,
                "message": result.message,
                "finished_at": result.finished_at,
                "data": orjson.dumps(result.data).decode() if result.data is not None else None,
            },
        )
        await session.commit()
        if not row.known:
            raise await stale_device(request, device)
        if row.completed_at is None:
            raise Problem(DISPATCH_NOT_FOUND)
        operation.name = "idempotency_hit" if row.replayed else "update"
    metrics.action_results.labels(result.outcome, str(row.replayed).lower()).inc()
    if not row.replayed:
        metrics.dispatches.labels("completed").inc()
    emit(
        ACTION_RESULT_REPLAY if row.replayed else ACTION_RESULT_INGEST,
        dispatch_request_id=result.request_id,
        device_id=str(device.device_id),
        outcome=result.outcome,
    )
    return Completion(request_id=result.request_id, completed_at=row.completed_at, replayed=row.replayed)


@router.post(
    PATH,
    operation_id="completeAction",
    responses=answers(*OF_A_BODY, *OF_A_TOKEN, DISPATCH_NOT_FOUND),
    openapi_extra=_result.openapi,
)
async def complete_action(
    request: Request, device: CurrentDevice, result: Annotated[ActionResult, Depends(_reported)], session: Session
) -> Completion:
    """Report what became of a command."""
    return await complete(request, session, device, result)
