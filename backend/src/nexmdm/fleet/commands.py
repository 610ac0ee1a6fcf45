"""Commands: accepted once, durable before the answer. Sending them is `dispatch`'s business, results are `results`'s.

A command is known by its request_id. One device: its dispatch has the same id; several: each dispatch has an id of its
own. Whoever sends no request_id gets one made from the signature, so a captured request sent again is the same command.
"""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from time import perf_counter
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col

from nexmdm.fleet import dispatch_states, metrics
from nexmdm.fleet.dispatch_states import DispatchStatus
from nexmdm.fleet.events import DISPATCH_IDEMPOTENCY_HIT, DISPATCH_REQUEST
from nexmdm.fleet.problems import DEVICE_NOT_FOUND, DEVICE_RETIRED, REQUEST_ID_CONFLICT
from nexmdm.fleet.state import fleet
from nexmdm.fleet.tables.commands import Command, FcmDispatch
from nexmdm.fleet.tables.devices import Device
from nexmdm.fleet.types import PackageName
from nexmdm.http.admin_auth import ADMIN_ONLY
from nexmdm.http.hmac_signature import SIGNATURE_HEADERS, SignedRequest
from nexmdm.http.json_body import JsonBody
from nexmdm.http.problems import OF_A_BODY, OF_AN_ADMIN
from nexmdm.http.runtime import Session
from nexmdm.http.types import Id, Maybe, RequestId, Shape, Unique
from nexmdm.kernel.database import Operation
from nexmdm.kernel.events import DEPENDENCY_AWAY
from nexmdm.kernel.log import emit, new_id, origin
from nexmdm.kernel.problems import DEPENDENCY_UNAVAILABLE, Problem, answers

router = APIRouter(tags=["commands"], dependencies=ADMIN_ONLY)


Activity = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.$]{1,255}$")]


class PingParams(Shape):
    """A ping has none."""


class LaunchAppParams(Shape):
    """Which app to bring to the front."""

    package_name: PackageName
    activity: Maybe[Activity] = None


class _Addressed(Shape):
    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["device_id"]}, {"required": ["device_ids"]}]})

    request_id: Maybe[RequestId] = None
    device_id: Maybe[Id] = None
    device_ids: Maybe[Annotated[Unique[Id], Field(min_length=1, max_length=1000)]] = None

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.device_id is None) == (self.device_ids is None):
            raise PydanticCustomError("one_address", "Exactly one of device_id and device_ids is required")
        return self

    @property
    def addressees(self) -> list[UUID]:
        """The devices, in the order given."""
        return self.device_ids or ([self.device_id] if self.device_id else [])


class Ping(_Addressed):
    """Ask devices to answer."""

    action: Literal["ping"]
    params: PingParams = PingParams()


class LaunchApp(_Addressed):
    """Start an app on devices."""

    action: Literal["launch_app"]
    params: LaunchAppParams


CommandBody = Annotated[Ping | LaunchApp, Field(discriminator="action")]


class DispatchRef(BaseModel):
    """A command on its way to one device."""

    request_id: str
    device_id: UUID
    status: DispatchStatus


class Accepted(BaseModel):
    """The command is durable; what becomes of it is in its dispatches."""

    request_id: str
    dispatches: list[DispatchRef]


_command = JsonBody[Ping | LaunchApp](CommandBody)


async def _body(request: Request, _signed: SignedRequest) -> Ping | LaunchApp:
    return await _command(request)


async def send_command(
    session: Session, command: Ping | LaunchApp, replay_key: str, ttl_s: int
) -> tuple[Accepted, bool]:
    """Store the command and one dispatch per device, or find that it is stored already.

    Returns: the first answer, and whether this is a replay of it.

    Raises:
        Problem: `request_id_conflict`, `device_not_found`, `device_retired`; nothing is stored.
    """
    request_id = command.request_id or replay_key
    params = command.params.model_dump(exclude_none=True)
    content = {"action": command.action, "params": params, "device_ids": [str(device) for device in command.addressees]}
    content_hash = sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
    started = perf_counter()
    with Operation("create", "fcm_dispatches", request_id=request_id) as operation:
        prior = await session.get(Command, request_id)
        if prior is None and await _insert_command(session, request_id, command, params, content_hash, ttl_s):
            dispatches = await _insert_dispatches(session, request_id, command, content_hash)
            # Before the commit, which wakes the dispatcher: the chain of a dispatch begins with this line. Should the
            # commit fail, the ERROR line of the outage has the same request_id.
            _log_requests(request_id, command.action, dispatches)
            await session.commit()
        else:
            operation.name = "idempotency_hit"
            if prior is None:  # a racer was before us
                prior = await session.get_one(Command, request_id)
            return await _first_answer(session, prior, content_hash), True
    metrics.dispatch_write.observe(perf_counter() - started)
    metrics.dispatches.labels("queued").inc(len(dispatches))
    return Accepted(request_id=request_id, dispatches=dispatches), False


def _log_requests(command_request_id: str, action: str, dispatches: list[DispatchRef]) -> None:
    for dispatch in dispatches:
        emit(
            DISPATCH_REQUEST,
            dispatch_request_id=dispatch.request_id,
            command_request_id=command_request_id,
            device_id=str(dispatch.device_id),
            action=action,
        )


async def _insert_command(
    session: Session,
    request_id: str,
    command: Ping | LaunchApp,
    params: dict[str, Any],
    content_hash: str,
    ttl_s: int,
) -> bool:
    """True where this call is the first with the id: the primary key decides, and makes a racer wait for the commit."""
    await _refuse_unless_all_active(session, command.addressees)
    statement = insert(Command).values(
        request_id=request_id,
        action=command.action,
        params=params,
        content_hash=content_hash,
        http_request_id=origin.get().request_id,
        expires_at=func.now() + timedelta(seconds=ttl_s),
    )
    first = statement.on_conflict_do_nothing().returning(col(Command.request_id))
    return (await session.execute(first)).first() is not None


async def _refuse_unless_all_active(session: Session, devices: list[UUID]) -> None:
    query = select(col(Device.device_id), col(Device.retired_at)).where(col(Device.device_id).in_(devices))
    locked = query.order_by(col(Device.device_id)).with_for_update(read=True)  # in the order of all who lock several
    retired = {row.device_id: row.retired_at for row in (await session.execute(locked)).all()}
    if len(retired) < len(devices):
        raise Problem(DEVICE_NOT_FOUND)
    if any(retired.values()):
        raise Problem(DEVICE_RETIRED)


async def _insert_dispatches(
    session: Session, request_id: str, command: Ping | LaunchApp, payload_hash: str
) -> list[DispatchRef]:
    devices = command.addressees
    ids = [request_id] if len(devices) == 1 else [new_id() for _ in devices]
    await dispatch_states.enqueue(session, request_id, dict(zip(ids, devices, strict=True)), payload_hash)
    return [
        DispatchRef(request_id=own, device_id=device, status="queued") for own, device in zip(ids, devices, strict=True)
    ]


async def _first_answer(session: Session, prior: Command, content_hash: str) -> Accepted:
    query = (
        select(col(FcmDispatch.request_id), col(FcmDispatch.device_id), col(FcmDispatch.status))
        .where(col(FcmDispatch.command_request_id) == prior.request_id)
        .order_by(col(FcmDispatch.ordinal))
    )
    rows = (await session.execute(query)).mappings().all()
    if prior.content_hash != content_hash:
        now = Accepted(request_id=prior.request_id, dispatches=[DispatchRef(**row) for row in rows])
        raise Problem(REQUEST_ID_CONFLICT, extra={"prior": now.model_dump(mode="json")})
    emit(DISPATCH_IDEMPOTENCY_HIT, dispatch_request_id=prior.request_id)
    return Accepted(
        request_id=prior.request_id, dispatches=[DispatchRef(**{**row, "status": "queued"}) for row in rows]
    )


def _require_fcm(request: Request) -> None:
    if fleet(request).settings.service_account is None:
        emit(DEPENDENCY_AWAY, "error", dependency="fcm", error="not configured")
        raise Problem(DEPENDENCY_UNAVAILABLE, "FCM is not configured.")


@router.post(
    "/admin/command",
    operation_id="sendCommand",
    responses=answers(*OF_A_BODY, *OF_AN_ADMIN, DEVICE_NOT_FOUND, DEVICE_RETIRED),
    openapi_extra={**_command.openapi, "parameters": SIGNATURE_HEADERS},
)
async def command(
    request: Request,
    response: Response,
    signed: SignedRequest,
    body: Annotated[Any, Depends(_body)],
    session: Session,
) -> Accepted:
    """Send a command to one or many devices."""
    _require_fcm(request)
    accepted, replay = await send_command(session, body, signed.replay_key, fleet(request).settings.command_ttl_s)
    if replay:
        response.headers["Idempotent-Replay"] = "true"
    return accepted
