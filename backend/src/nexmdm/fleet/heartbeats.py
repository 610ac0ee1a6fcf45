"""The heartbeat route: shape, answer, log line. How a beat is stored, before the answer, is `ingest`'s business.

Beats in good order of known devices come by the fast lane; the route answers all others, and describes both.
"""

from __future__ import annotations

import random
from functools import partial
from typing import Annotated, Final, Literal

import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from sqlalchemy import and_, func, select, update
from sqlmodel import col
from starlette.responses import Response

from nexmdm.fleet import fcm_tokens, metrics
from nexmdm.fleet.auth import DescribeDevice, current_device, stale_device
from nexmdm.fleet.device_body import DeviceBody
from nexmdm.fleet.device_tokens import DeviceIdentity, DeviceTokens
from nexmdm.fleet.events import HEARTBEAT_DEDUP_HIT, HEARTBEAT_INGEST
from nexmdm.fleet.heartbeat_writer import Beat, HeartbeatWriter, Stored
from nexmdm.fleet.state import fleet
from nexmdm.fleet.tables.devices import Device
from nexmdm.fleet.types import FcmToken
from nexmdm.http.credentials import client_ip
from nexmdm.http.fast_path import Begun
from nexmdm.http.problems import OF_A_BODY, OF_A_TOKEN
from nexmdm.http.runtime import database
from nexmdm.http.types import Maybe, Shape, Version, Whole
from nexmdm.kernel.database import Operation
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import Problem, answers

router = APIRouter(tags=["devices"], dependencies=[DescribeDevice])

PATH: Final = "/v1/heartbeat"
JITTER: Final = 0.1  # of the interval, either way, so that a fleet does not march in step

Percent = Annotated[int, Whole(0, 100)]
Celsius = Annotated[float, Field(ge=-100, le=200)]
Dbm = Annotated[int, Whole(-200, 0)]
Uptime = Annotated[int, Whole(0, 4_294_967_295)]
Megabytes = Annotated[int, Whole(0, 1_048_576)]
NetworkType = Literal["wifi", "cellular", "ethernet", "none", "unknown"]


class Heartbeat(Shape):
    """A device's health (columns of device_heartbeats, seed 002) and, when it has changed, its FCM token."""

    status: Literal["ok", "warn", "error"]
    battery_pct: Maybe[Percent] = None
    plugged: Maybe[bool] = None
    temp_c: Maybe[Celsius] = None
    network_type: Maybe[NetworkType] = None
    signal_dbm: Maybe[Dbm] = None
    uptime_s: Maybe[Uptime] = None
    ram_used_mb: Maybe[Megabytes] = None
    unity_pkg_version: Maybe[Version] = None
    unity_running: Maybe[bool] = None
    agent_version: Maybe[Version] = None
    fcm_token: Maybe[FcmToken] = None


class Acknowledged(BaseModel):
    """The beat is durable; `next_heartbeat_s` says when to send the next."""

    ok: Literal[True]
    deduplicated: bool
    next_heartbeat_s: float


_INGESTED: Final = metrics.heartbeats.labels("ingested")
_DEDUPLICATED: Final = metrics.heartbeats.labels("deduplicated")
_heartbeat = DeviceBody(Heartbeat, PATH)


def _acknowledge(device: DeviceIdentity, heartbeat: Heartbeat, interval_s: int, stored: Stored | None) -> bytes | None:
    """Count and log a beat that is durable; the body of its answer. None: it was not stored, the token is dead."""
    if stored is None:
        return None
    if stored.ingested:
        _INGESTED.inc()
        emit(HEARTBEAT_INGEST, device_id=device.device_id, status=heartbeat.status, bucket=stored.bucket)
    else:
        _DEDUPLICATED.inc()
        emit(HEARTBEAT_DEDUP_HIT, device_id=device.device_id, bucket=stored.bucket)
    pause = round(interval_s * random.uniform(1 - JITTER, 1 + JITTER), 1)  # noqa: S311 - jitter is no secret
    return orjson.dumps({"ok": True, "deduplicated": not stored.ingested, "next_heartbeat_s": pause})


class FastHeartbeats:
    """The endpoint of the fast lane: takes a beat in good order of a device that is known, unless too many wait."""

    path = PATH

    def __init__(self, tokens: DeviceTokens, writer: HeartbeatWriter, interval_s: int) -> None:
        self._tokens, self._writer, self._interval_s = tokens, writer, interval_s

    def begin(self, token: str, body: bytes, ip: str | None) -> Begun | Problem | None:
        device = self._tokens.known(token)
        if device is None:
            return self._tokens.turned_away(token)  # a fleet that comes back after a restart: most of it has to wait
        try:
            heartbeat = _heartbeat.parse(body)
        except Problem:
            return None  # what is wrong with it the route tells
        if heartbeat.fcm_token is not None:
            return None  # another device may have to lose it, in a transaction of its own
        try:
            stored = self._writer.submit(_beat(device, heartbeat, ip))
        except Problem as overloaded:
            return overloaded
        return stored, partial(_acknowledge, device, heartbeat, self._interval_s)


def _beat(device: DeviceIdentity, heartbeat: Heartbeat, ip: str | None) -> Beat:
    return Beat(device.device_id, device.token_version, vars(heartbeat), ip)


async def _renew(request: Request, device: DeviceIdentity, token: str) -> None:
    """Store a device's FCM token, unless it is the one that it brought last, be that alive or dead."""
    own = and_(
        col(Device.device_id) == device.device_id,
        col(Device.token_version) == device.token_version,
        col(Device.retired_at).is_(None),
    )
    renewal = (
        update(Device)
        .where(own)
        .values(
            fcm_token=token,
            fcm_token_dead_at=None,
            updated_at=func.greatest(func.now(), Device.registered_at),
        )
        .returning(col(Device.device_id))
    )
    async with database(request).sessions() as session:
        if await session.scalar(select(col(Device.fcm_token)).where(own)) == token:
            return
        with Operation("update", "devices", device_id=str(device.device_id)):
            stored, loser = await fcm_tokens.give(
                session, token, col(Device.device_id) == device.device_id, partial(session.execute, renewal)
            )
            if stored.first() is None:
                raise await stale_device(request, device)
            await session.commit()
    fcm_tokens.report_moved(device.device_id, loser)


@router.post(
    PATH,
    operation_id="recordHeartbeat",
    responses=answers(*OF_A_BODY, *OF_A_TOKEN),
    openapi_extra=_heartbeat.openapi,
    response_model=Acknowledged,
)
async def record_heartbeat(request: Request) -> Response:
    """Store one heartbeat, at most one row per device and 10 s bucket, and the FCM token that it may bring."""
    device = await current_device(request)
    heartbeat = await _heartbeat.of(request, device_id=device.device_id)
    stored = await fleet(request).writer.submit(_beat(device, heartbeat, client_ip(request)))
    answer = _acknowledge(device, heartbeat, fleet(request).settings.heartbeat_interval_s, stored)
    if answer is None:
        raise await stale_device(request, device)
    if heartbeat.fcm_token is not None:
        await _renew(request, device, heartbeat.fcm_token)
    return Response(answer, media_type="application/json")
