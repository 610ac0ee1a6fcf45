"""The changes below mounts: brought to their backends at once, and the runs that have done so."""

from __future__ import annotations

import asyncio
import time
from operator import itemgetter
from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends, Path, Query, Request

from nexmdm.http.credentials import refusal
from nexmdm.http.pagination import Page, Paging, refuse_repeated_parameters
from nexmdm.http.problems import ADMIN_REQUIRED
from nexmdm.http.types import FREE_TEXT
from nexmdm.kernel.problems import VALIDATION_ERROR, Problem, answers
from nexmdm.platform import paths, sync_views
from nexmdm.platform.auth import AGENT, DESCRIBED, OF_A_KEY, ZONE_HEADERS, Caller, InZone
from nexmdm.platform.call import Call
from nexmdm.platform.delivery import BRICK
from nexmdm.platform.problems import (
    BRICK_UNMOUNTED,
    MOUNT_NOT_FOUND,
    PUSH_RUNNING,
    ROLE_FORBIDDEN,
    ZONE_TERMINATING,
)
from nexmdm.platform.rpc_errors import RpcError
from nexmdm.platform.state import Platform, platform
from nexmdm.platform.sync_runs import Runner, Tally
from nexmdm.platform.sync_views import Pushed, PushMetrics, RunView
from nexmdm.platform.zone_row import ZoneEndsError

PATH: Final = "/api/v2/sync"
OF_SYNC: Final = (*OF_A_KEY, ROLE_FORBIDDEN, ZONE_TERMINATING, BRICK_UNMOUNTED, VALIDATION_ERROR)
_in_zone: Final = InZone(brick=BRICK)
_LOOK_EVERY_S: Final = 0.2  # for the end of a run that is at the mount already


async def _member(request: Request, caller: Annotated[Caller, Depends(_in_zone)]) -> Caller:
    """A member or an admin. Problem: an agent."""
    if caller.role == AGENT:
        raise await refusal(request, ROLE_FORBIDDEN)
    return caller


InTheZone = Annotated[Caller, Depends(_member)]


async def _admin(request: Request, caller: InTheZone) -> Caller:
    if not caller.is_admin:
        raise await refusal(request, ADMIN_REQUIRED)
    return caller


Pusher = Annotated[Caller, Depends(_admin)]
IN_ZONE: Final = [DESCRIBED, Depends(_member), Depends(refuse_repeated_parameters)]
router = APIRouter(tags=[BRICK], dependencies=IN_ZONE)

_MOUNT: Final = """
    SELECT zone_id, mount_id, mount_point, backend_type, config, secret, readonly, $3::uuid AS uid
    FROM mounts WHERE zone_id = $1 AND mount_point = $2 AND active
"""
_STATE: Final = """
    SELECT count(*) FILTER (WHERE status = 'open') AS open, count(*) FILTER (WHERE status = 'resolved') AS resolved
    FROM mount_conflicts WHERE zone_id = $1 AND mount_id = $2
"""
_RUNS: Final = """
    SELECT run_id, mount_id, mount_point, trigger, started_at, finished_at, pushed, failed, conflicts, remaining
    FROM mount_runs WHERE zone_id = $1 AND ($2::text IS NULL OR mount_point = $2)
        AND ($3::timestamptz IS NULL OR (started_at, run_id) < ($3, $4))
    ORDER BY started_at DESC, run_id DESC LIMIT $5
"""

OfPath = Annotated[str, Path(json_schema_extra={"pattern": "^[^\\x00-\\x1f\\x7f]{1,1023}$"})]  # another one is 404
Point = Annotated[str | None, Query(min_length=1, max_length=paths.MOST_BYTES, pattern=FREE_TEXT)]


def described(operation_id: str, more: dict[str, Any] | None = None) -> dict[str, Any]:
    """What every operation of `sync` has."""
    return {"operation_id": operation_id, "openapi_extra": {"parameters": ZONE_HEADERS, **(more or {})}}


def runner(own: Platform) -> Runner:
    """Of this process."""
    return Runner(own.statements, own.contents, own.connectors, own.settings)


@router.post(f"{PATH}/mounts//push", responses=answers(*OF_SYNC, ADMIN_REQUIRED), **described("pushRoot"))
async def push_root(caller: Pusher) -> Pushed:
    """The root is the zone's own files: there is nothing to bring anywhere."""
    del caller
    return _pushed(paths.ROOT, Tally(), 0, 0, 0)


@router.post(
    f"{PATH}/mounts/{{mount_point:path}}/push",
    responses=answers(*OF_SYNC, ADMIN_REQUIRED, MOUNT_NOT_FOUND, PUSH_RUNNING),
    **described("pushMount"),
)
async def push_mount(request: Request, caller: Pusher, mount_point: OfPath) -> Pushed:
    """Bring the changes below a mount to its backend; what waits after a failure, too."""
    began = time.monotonic()
    own, call = platform(request), Call(caller, platform(request), BRICK)
    mount = await _mount(call, f"/{mount_point}")
    tally = Tally() if mount["readonly"] else await _run(own, mount)
    async with call.within() as tx:
        state = await tx.fetchrow(_STATE, caller.zone_id, mount["mount_id"])
        assert state is not None
    took_ms = round(1000 * (time.monotonic() - began))
    return _pushed(mount["mount_point"], tally, took_ms, state["open"], state["resolved"])


async def _mount(call: Call, point: str) -> asyncpg.Record:
    try:
        point = paths.of_entry(point)
    except RpcError:
        raise Problem(MOUNT_NOT_FOUND) from None
    async with call.within() as tx:
        row = await tx.fetchrow(_MOUNT, call.zone_id, point, call.caller.zone_uid)
    if row is None:
        raise Problem(MOUNT_NOT_FOUND)
    return row


async def _run(own: Platform, mount: asyncpg.Record) -> Tally:
    """Wait for a run that is at it, and make one. Problem: that takes too long; the zone ends."""
    until = time.monotonic() + own.settings.platform_push_wait_s
    try:
        while True:
            tally = await runner(own).run(mount, "push")
            if tally is not None:
                return tally
            if time.monotonic() >= until:
                raise Problem(PUSH_RUNNING)
            await asyncio.sleep(_LOOK_EVERY_S)
    except ZoneEndsError:
        raise Problem(ZONE_TERMINATING) from None


def _pushed(point: str, tally: Tally, took_ms: int, are_open: int, are_resolved: int) -> Pushed:
    return Pushed(
        mount_point=point,
        changes_pushed=tally.pushed,
        changes_failed=tally.failed,
        conflicts_detected=tally.conflicts,
        conflicts=tally.conflicts,
        remaining=tally.remaining,
        metrics=PushMetrics(duration_ms=took_ms, conflicts_open=are_open, conflicts_resolved=are_resolved),
    )


@router.get(f"{PATH}/runs", responses=answers(*OF_SYNC), **described("listSyncRuns"))
async def list_runs(
    request: Request, caller: InTheZone, paging: Annotated[Paging, Depends()], mount_point: Point = None
) -> Page[RunView]:
    """The runs in a zone, the latest first: of the loop, and of pushes."""
    at, key = paging.after(UUID) or (None, None)
    async with Call(caller, platform(request), BRICK).within() as tx:
        rows = await tx.fetch(_RUNS, caller.zone_id, mount_point, at, key, paging.limit + 1)
    shown, cursor = paging.cut(rows, itemgetter("started_at", "run_id"))
    return Page(items=[sync_views.run(row) for row in shown], next_cursor=cursor)
