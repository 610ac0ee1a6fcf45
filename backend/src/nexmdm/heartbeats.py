"""The heartbeat route: shape, answer, log line. How a beat is stored, before the answer, is `ingest`'s business.

It is served by `serve` in the fast lane; the FastAPI route describes it, and answers the methods that it has not.
"""

from __future__ import annotations

import random
from typing import Annotated, Final, Literal

import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from nexmdm import metrics
from nexmdm.auth import DescribeDevice, client_ip, current_device, stale_device
from nexmdm.bodies import JsonBody
from nexmdm.errors import OF_A_BODY, OF_A_TOKEN, answers
from nexmdm.ingest import Beat, HeartbeatWriter
from nexmdm.logs import Event, emit
from nexmdm.shapes import FcmToken, Maybe, Shape, Version, Whole

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
_heartbeat = JsonBody[Heartbeat](Heartbeat)


async def serve(request: Request) -> Response:
    """Store one heartbeat, at most one row per device and 10 s bucket, and acknowledge it."""
    device = await current_device(request)
    heartbeat = await _heartbeat(request)
    state = request.app.state
    writer: HeartbeatWriter = state.heartbeats
    stored = await writer.store(Beat(device.device_id, device.token_version, vars(heartbeat), client_ip(request)))
    if stored is None:
        raise await stale_device(request, device)
    if stored.ingested:
        _INGESTED.inc()
        emit(Event.HEARTBEAT_INGEST, device_id=device.device_id, status=heartbeat.status, bucket=stored.bucket)
    else:
        _DEDUPLICATED.inc()
        emit(Event.HEARTBEAT_DEDUP_HIT, device_id=device.device_id, bucket=stored.bucket)
    interval = state.settings.heartbeat_interval_s
    pause = round(interval * random.uniform(1 - JITTER, 1 + JITTER), 1)  # noqa: S311 - jitter is no secret
    answer = {"ok": True, "deduplicated": not stored.ingested, "next_heartbeat_s": pause}
    return Response(orjson.dumps(answer), media_type="application/json")


@router.post(
    PATH,
    operation_id="recordHeartbeat",
    responses=answers(*OF_A_BODY, *OF_A_TOKEN),
    openapi_extra=_heartbeat.openapi,
    response_model=Acknowledged,
)
async def record_heartbeat(request: Request) -> Response:
    """Record a heartbeat."""
    return await serve(request)
