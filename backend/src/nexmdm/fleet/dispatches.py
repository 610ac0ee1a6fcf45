"""The dispatches of commands, as the admin sees them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel
from sqlalchemy import select
from sqlmodel import col

from nexmdm.fleet.dispatch_states import DispatchStatus
from nexmdm.fleet.problems import DISPATCH_NOT_FOUND
from nexmdm.fleet.tables.commands import Command, DispatchTransition, FcmDispatch
from nexmdm.http.admin_auth import ADMIN_ONLY
from nexmdm.http.pagination import Page, Paging
from nexmdm.http.problems import OF_AN_ADMIN
from nexmdm.http.runtime import Session
from nexmdm.http.types import Id, RequestId
from nexmdm.kernel.problems import VALIDATION_ERROR, Problem, answers

router = APIRouter(tags=["commands"], dependencies=ADMIN_ONLY)


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


@router.get(
    "/admin/dispatches",
    operation_id="listDispatches",
    responses=answers(*OF_AN_ADMIN, VALIDATION_ERROR),
)
async def list_dispatches(
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


@router.get(
    "/admin/dispatches/{request_id}",
    operation_id="getDispatch",
    responses=answers(*OF_AN_ADMIN, DISPATCH_NOT_FOUND, VALIDATION_ERROR),
)
async def get_dispatch(request_id: Annotated[RequestId, Path()], session: Session) -> DispatchDetail:
    """Look a dispatch up, with its history."""
    return await find_dispatch(session, request_id)
