"""What became of commands: the result that a device reports, and the dispatches as the admin sees them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy import select, text
from sqlmodel import col

from nexmdm.fleet import metrics
from nexmdm.fleet.auth import CurrentDevice, DescribeDevice, stale_device
from nexmdm.fleet.device_body import DeviceBody
from nexmdm.fleet.device_tokens import DeviceIdentity
from nexmdm.fleet.events import ACTION_RESULT_INGEST, ACTION_RESULT_REPLAY
from nexmdm.fleet.problems import DISPATCH_NOT_FOUND
from nexmdm.fleet.tables.commands import Command, DispatchTransition, FcmDispatch
from nexmdm.http.admin_auth import ADMIN_ONLY
from nexmdm.http.pagination import Page, Paging
from nexmdm.http.problems import OF_A_BODY, OF_A_TOKEN, OF_AN_ADMIN
from nexmdm.http.runtime import Session
from nexmdm.http.types import FREE_TEXT, Id, Maybe, Moment, RequestId, Shape
from nexmdm.kernel.database import Operation
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import VALIDATION_ERROR, Problem, answers

device_router = APIRouter(tags=["devices"], dependencies=[DescribeDevice])
admin_router = APIRouter(tags=["commands"], dependencies=ADMIN_ONLY)

Message = Annotated[str, StringConstraints(pattern=FREE_TEXT, max_length=2000)]
DataKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
DataText = Annotated[str, StringConstraints(pattern=FREE_TEXT, max_length=1000)]
DataInteger = Annotated[int, Field(ge=-(10**15), le=10**15)]
DataNumber = Annotated[float, Field(ge=-1e15, le=1e15)]
_CLOSED = Field(max_length=32, json_schema_extra={"additionalProperties": False})
DispatchStatus = Literal["queued", "sending", "sent", "failed", "completed", "expired"]


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


class DispatchView(BaseModel):
    """One command on its way to one device."""

    request_id: str
    command_request_id: str
    device_id: UUID
    action: str
    params: dict[str, Any]
    status: DispatchStatus
    created_at: datetime
    expires_at: datetime
    sent_at: datetime | None
    completed_at: datetime | None
    retries: int
    http_code: int | None
    fcm_code: str | None
    fcm_message_id: str | None
    latency_ms: float | None
    error_msg: str | None
    outcome: Literal["ok", "error"] | None
    message: str | None
    finished_at: datetime | None
    data: dict[str, Any] | None


class TransitionView(BaseModel):
    """One change of a dispatch's status, with what FCM had answered."""

    status: DispatchStatus
    at: datetime
    http_code: int | None
    fcm_code: str | None
    latency_ms: float | None
    error_msg: str | None


class DispatchDetail(DispatchView):
    """A dispatch with its whole history."""

    transitions: list[TransitionView]


PATH: Final = "/v1/action-result"
_result = DeviceBody(ActionResult, PATH)


async def _reported(request: Request, device: CurrentDevice) -> ActionResult:
    return await _result.of(request, device_id=device.device_id)


# One statement judges the token, finds the device's own dispatch, completes it once and keeps the first completion.
# A device may answer before the dispatcher has stored FCM's answer, so any state but `completed` may complete.
_COMPLETE: Final = text(
    """
    WITH caller AS (
        SELECT device_id FROM devices
        WHERE device_id = :device_id AND token_version = :token_version AND retired_at IS NULL
    ), found AS (
        SELECT d.request_id, d.status, d.completed_at, d.outcome FROM fcm_dispatches AS d JOIN caller USING (device_id)
        WHERE d.request_id = :request_id FOR NO KEY UPDATE OF d
    ), done AS (
        UPDATE fcm_dispatches AS d SET
            status = 'completed', completed_at = now(), lease_until = NULL,
            outcome = :outcome, finished_at = CAST(:finished_at AS timestamptz),
            result_message = :message, result_data = CAST(:data AS jsonb)
        FROM found WHERE d.request_id = found.request_id AND found.status <> 'completed'
        RETURNING d.request_id, d.completed_at
    ), step AS (
        INSERT INTO dispatch_transitions (request_id, status) SELECT request_id, 'completed' FROM done
    )
    SELECT
        EXISTS (SELECT FROM caller) AS known,
        (SELECT coalesce((SELECT completed_at FROM done), completed_at) FROM found) AS completed_at,
        EXISTS (SELECT FROM found WHERE status = 'completed') AS replayed
    """
)


async def complete(request: Request, session: Session, device: DeviceIdentity, result: ActionResult) -> Completion:
    """Complete a dispatch of this device, once; a repeat gives the first completion.

    Raises:
        Problem: `dispatch_not_found`, also for another device's; `token_invalid` for a token that has died.
    """
    with Operation("update", "fcm_dispatches", request_id=result.request_id) as operation:
        row = (
            await session.execute(
                _COMPLETE,
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
        ).one()
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


def _view(row: Any) -> DispatchView:
    dispatch: FcmDispatch = row[0]
    return DispatchView(
        params=row.params,
        fcm_code=dispatch.fcm_status,
        message=dispatch.result_message,
        data=dispatch.result_data,
        **dispatch.model_dump(),
    )


_DISPATCHES: Final = select(FcmDispatch, col(Command.params)).join(
    Command, col(Command.request_id) == col(FcmDispatch.command_request_id)
)


async def find_dispatch(session: Session, request_id: str) -> DispatchDetail:
    """A dispatch and every transition, in order."""
    row = (await session.execute(_DISPATCHES.where(col(FcmDispatch.request_id) == request_id))).first()
    if row is None:
        raise Problem(DISPATCH_NOT_FOUND)
    history = (
        select(DispatchTransition)
        .where(col(DispatchTransition.request_id) == request_id)
        .order_by(col(DispatchTransition.id))
    )
    steps = (await session.execute(history)).scalars()
    transitions = [TransitionView(fcm_code=step.fcm_status, **step.model_dump()) for step in steps]
    return DispatchDetail(transitions=transitions, **_view(row).model_dump())


@device_router.post(
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


@admin_router.get(
    "/admin/dispatches",
    operation_id="listDispatches",
    responses=answers(*OF_AN_ADMIN, VALIDATION_ERROR),
)
async def listing(
    paging: Annotated[Paging, Depends()],
    session: Session,
    status: DispatchStatus | None = None,
    device_id: Annotated[Id | None, Query()] = None,
    action: Literal["ping", "launch_app"] | None = None,
    command_request_id: Annotated[RequestId | None, Query()] = None,
) -> Page[DispatchView]:
    """List dispatches, newest first."""
    query = _DISPATCHES
    wanted = {"status": status, "device_id": device_id, "action": action, "command_request_id": command_request_id}
    for name, value in wanted.items():
        if value is not None:
            query = query.where(getattr(FcmDispatch, name) == value)
    return await paging.read(session, query, col(FcmDispatch.created_at), col(FcmDispatch.request_id), _view)


@admin_router.get(
    "/admin/dispatches/{request_id}",
    operation_id="getDispatch",
    responses=answers(*OF_AN_ADMIN, DISPATCH_NOT_FOUND, VALIDATION_ERROR),
)
async def one(request_id: Annotated[RequestId, Path()], session: Session) -> DispatchDetail:
    """Look a dispatch up, with its history."""
    return await find_dispatch(session, request_id)
