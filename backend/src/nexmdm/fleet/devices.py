"""Devices as the admin sees them: list, look up, retire. They come to be in `registration` and move in `heartbeats`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel
from sqlalchemy import Select, func, or_, select, update
from sqlmodel import col

from nexmdm.fleet.events import DEVICE_RETIRE
from nexmdm.fleet.problems import DEVICE_NOT_FOUND
from nexmdm.fleet.tables.devices import Device, DeviceStatus
from nexmdm.fleet.withdrawals import withdraw
from nexmdm.http.admin_auth import ADMIN_ONLY
from nexmdm.http.pagination import Page, Paging
from nexmdm.http.problems import OF_AN_ADMIN
from nexmdm.http.runtime import Session
from nexmdm.http.types import Alias, Id, Moment
from nexmdm.kernel.database import Operation
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import VALIDATION_ERROR, Problem, answers

router = APIRouter(tags=["devices"], dependencies=ADMIN_ONLY)

HealthStatus = Literal["ok", "warn", "error"]


class DeviceView(BaseModel):
    """A device without its secrets."""

    device_id: UUID
    alias: str
    status: Literal["active", "retired"]
    agent_version: str
    manufacturer: str | None
    model: str | None
    serial: str | None
    android_version: str | None
    sdk_int: int | None
    has_fcm_token: bool
    registered_at: datetime
    retired_at: datetime | None
    last_seen: datetime | None
    last_status: HealthStatus | None


def _select() -> Select[Device, datetime, str]:
    return select(Device, col(DeviceStatus.last_seen), col(DeviceStatus.last_status)).outerjoin(
        DeviceStatus, col(DeviceStatus.device_id) == col(Device.device_id)
    )


def _view(row: Any) -> DeviceView:
    device: Device = row[0]
    return DeviceView(
        status="active" if device.retired_at is None else "retired",
        has_fcm_token=device.fcm_token is not None and device.fcm_token_dead_at is None,
        last_seen=row.last_seen,
        last_status=row.last_status,
        **device.model_dump(),
    )


async def find_device(session: Session, device_id: UUID) -> DeviceView:
    """Look a device up, retired or not."""
    row = (await session.execute(_select().where(col(Device.device_id) == device_id))).first()
    if row is None:
        raise Problem(DEVICE_NOT_FOUND)
    return _view(row)


async def retire_device(session: Session, device_id: UUID) -> DeviceView:
    """End a device: every statement of a device route asks for `retired_at IS NULL`, so its token is dead at once.

    Its FCM token is forgotten, and what it was not yet sent is withdrawn.
    """
    # Not before it was registered, though the clock was set back or the database moved to a server that lags.
    now = func.greatest(func.now(), Device.registered_at)
    retirement = (
        update(Device)
        .where(col(Device.device_id) == device_id, col(Device.retired_at).is_(None))
        .values(retired_at=now, updated_at=now, fcm_token=None, fcm_token_dead_at=None)
        .returning(col(Device.alias))
    )
    with Operation("update", "devices", device_id=str(device_id)):
        retired = (await session.execute(retirement)).first()
        withdrawal = None if retired is None else await withdraw(session, device_id, "device_retired")
        await session.commit()
    if retired is not None and withdrawal is not None:
        emit(DEVICE_RETIRE, device_id=str(device_id), alias=retired.alias)
        withdrawal.report()
    return await find_device(session, device_id)


@router.get(
    "/v1/devices",
    operation_id="listDevices",
    responses=answers(*OF_AN_ADMIN, VALIDATION_ERROR),
)
async def list_devices(
    paging: Annotated[Paging, Depends()],
    session: Session,
    status: Literal["active", "retired"] | None = None,
    alias: Annotated[Alias | None, Query()] = None,
    last_status: HealthStatus | None = None,
    stale_since: Annotated[Moment | None, Query()] = None,
) -> Page[DeviceView]:
    """List devices, newest first."""
    query = _select()
    if status is not None:
        retired = col(Device.retired_at)
        query = query.where(retired.is_(None) if status == "active" else retired.is_not(None))
    if alias is not None:
        query = query.where(col(Device.alias) == alias)
    if last_status is not None:
        query = query.where(col(DeviceStatus.last_status) == last_status)
    if stale_since is not None:
        last_seen = col(DeviceStatus.last_seen)
        query = query.where(or_(last_seen.is_(None), last_seen < stale_since))
    return await paging.read(session, query, col(Device.registered_at), col(Device.device_id), _view, UUID)


@router.get(
    "/v1/devices/{device_id}",
    operation_id="getDevice",
    responses=answers(*OF_AN_ADMIN, DEVICE_NOT_FOUND, VALIDATION_ERROR),
)
async def get_device(device_id: Id, session: Session) -> DeviceView:
    """Look a device up."""
    return await find_device(session, device_id)


@router.delete(
    "/v1/devices/{device_id}",
    operation_id="retireDevice",
    responses=answers(*OF_AN_ADMIN, DEVICE_NOT_FOUND, VALIDATION_ERROR),
)
async def retire(device_id: Id, session: Session) -> DeviceView:
    """Retire a device."""
    return await retire_device(session, device_id)
