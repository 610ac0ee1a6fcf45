"""Registration: a device trades an enrolment token for its identity. It never issues an enrolment token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID
from weakref import WeakValueDictionary

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col

from nexmdm.fleet import fcm_tokens, metrics
from nexmdm.fleet.auth import TOKEN_STATUS, CurrentEnrolment, DescribeEnrolment
from nexmdm.fleet.device_body import DeviceBody
from nexmdm.fleet.events import REGISTER_FAIL, REGISTER_SUCCESS, TOKEN_CONSUME
from nexmdm.fleet.problems import ALIAS_MISMATCH, NOT_ACTIVE
from nexmdm.fleet.state import fleet
from nexmdm.fleet.tables.devices import Device, EnrollmentToken
from nexmdm.fleet.types import FcmToken
from nexmdm.fleet.withdrawals import withdraw
from nexmdm.http.credentials import refusal
from nexmdm.http.problems import INSUFFICIENT_SCOPE, OF_A_BODY, OF_A_TOKEN
from nexmdm.http.runtime import Session, database
from nexmdm.http.types import Alias, Label, Maybe, Shape, Version, Whole
from nexmdm.kernel.database import Operation
from nexmdm.kernel.log import emit, new_id
from nexmdm.kernel.problems import Problem, answers

router = APIRouter(tags=["devices"], dependencies=[DescribeEnrolment])

SdkLevel = Annotated[int, Whole(1, 1000)]


class Registration(Shape):
    """What a device says of itself when it enrols."""

    agent_version: Version
    alias: Maybe[Alias] = None
    fcm_token: Maybe[FcmToken] = None
    manufacturer: Maybe[Label] = None
    model: Maybe[Label] = None
    serial: Maybe[Label] = None
    android_version: Maybe[Label] = None
    sdk_int: Maybe[SdkLevel] = None


class Registered(BaseModel):
    """The device's identity and its token, shown this once."""

    device_id: UUID
    device_token: str
    heartbeat_interval_s: int


PATH: Final = "/v1/register"
_registration = DeviceBody(Registration, PATH)


async def _told(request: Request, token: CurrentEnrolment) -> Registration:
    return await _registration.of(request, token_id=token.token_id)


class _Turns:
    """Racers on one token in this process take turns: a loser costs a look at the row, and no bcrypt."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    def of(self, token_id: UUID) -> asyncio.Lock:
        return self._locks.setdefault(token_id, asyncio.Lock())


_turns = _Turns()


async def _logged() -> AsyncIterator[None]:
    try:
        yield
    except Problem as problem:
        emit(REGISTER_FAIL, "warning", code=problem.code)
        raise


async def register(
    request: Request, session: Session, token: EnrollmentToken, registration: Registration
) -> Registered:
    """Consume one use of the token and store the device, in one transaction.

    A known alias is a re-enrolment: the same device_id, a new token, the old one dead at once; the retired return, and
    commands that the device was not yet sent are withdrawn. An FCM token that another device has is taken from it.

    Raises:
        Problem: 403 for a token of another scope, 409 for another alias, 401 where a racer took the last use, 503 where
            too many hashes wait.
    """
    if token.scope != "register":
        raise Problem(INSUFFICIENT_SCOPE)
    if registration.alias not in (None, token.alias):
        raise Problem(ALIAS_MISMATCH)
    tokens = fleet(request).tokens
    async with _turns.of(token.token_id):
        await _refuse_unless_active(request, token)
        secret, token_hash = await tokens.generate()  # before the transaction: no row is locked for the 60 ms
        with Operation("create", "devices", alias=token.alias) as operation:
            if not await _consume(session, token):
                await session.rollback()
                await _refuse_unless_active(request, token)
            device_id, version, loser = await _store(session, token.alias, token_hash, registration)
            withdrawal = await withdraw(session, device_id, "device_reenrolled")
            operation.keys["device_id"] = str(device_id)
            operation.name = "create" if version == 1 else "update"
            await session.commit()
    device = await tokens.issue(device_id, version, secret)
    metrics.registrations.inc()
    emit(TOKEN_CONSUME, token_id=str(token.token_id), alias=token.alias, device_id=str(device_id))
    emit(
        REGISTER_SUCCESS,
        device_id=str(device_id),
        alias=token.alias,
        token_id=str(token.token_id),
        reenrolled=version > 1,
    )
    withdrawal.report()
    fcm_tokens.report_moved(device_id, loser)
    interval = fleet(request).settings.heartbeat_interval_s
    return Registered(device_id=device_id, device_token=device, heartbeat_interval_s=interval)


async def _refuse_unless_active(request: Request, token: EnrollmentToken) -> None:
    async with database(request).sessions() as session:
        query = select(TOKEN_STATUS).where(col(EnrollmentToken.token_id) == token.token_id)
        status = (await session.execute(query)).scalar_one()
    if status != "active":
        raise await refusal(request, NOT_ACTIVE[status])


async def _consume(session: Session, token: EnrollmentToken) -> bool:
    consumption = (
        update(EnrollmentToken)
        .where(col(EnrollmentToken.token_id) == token.token_id, TOKEN_STATUS.in_(["active"]))
        .values(uses_consumed=EnrollmentToken.uses_consumed + 1, last_used_at=func.now())
        .returning(col(EnrollmentToken.token_id))
    )
    return (await session.execute(consumption)).first() is not None


async def _store(session: Session, alias: str, token_hash: str, facts: Registration) -> tuple[UUID, int, UUID | None]:
    """The device, its token's version, and the device that has lost its FCM token to it."""
    values: dict[str, Any] = {**facts.model_dump(exclude={"alias"}), "token_hash": token_hash}
    statement = insert(Device).values(device_id=UUID(new_id()), alias=alias, **values)
    reenrolment = statement.on_conflict_do_update(
        index_elements=["alias"],
        set_={
            **values,
            "token_version": Device.token_version + 1,
            "fcm_token_dead_at": None,
            "retired_at": None,
            # now() is when the transaction began: a racer that began later may have stored the row before us.
            "updated_at": func.greatest(func.now(), Device.registered_at),
        },
    ).returning(col(Device.device_id), col(Device.token_version))
    stored, loser = await fcm_tokens.give(
        session, facts.fcm_token, col(Device.alias) == alias, partial(session.execute, reenrolment)
    )
    row = stored.one()
    return row.device_id, row.token_version, loser


@router.post(
    PATH,
    operation_id="registerDevice",
    dependencies=[Depends(_logged)],
    responses=answers(*OF_A_BODY, *OF_A_TOKEN, INSUFFICIENT_SCOPE, ALIAS_MISMATCH),
    openapi_extra=_registration.openapi,
)
async def register_device(
    request: Request,
    token: CurrentEnrolment,
    registration: Annotated[Registration, Depends(_told)],
    session: Session,
) -> Registered:
    """Enrol a device."""
    return await register(request, session, token, registration)
