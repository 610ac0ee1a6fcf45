"""Paths that both sides have changed: listed, looked at, and resolved as a caller says that has seen both sides.

A conflict is held under a lease while bytes move. A side that is no longer as it was shown is never overwritten.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import itemgetter
from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends, Query, Request

from nexmdm.http.json_body import JsonBody
from nexmdm.http.pagination import Page, Paging
from nexmdm.http.problems import OF_A_BODY
from nexmdm.http.types import IdInPath, as_id
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import Problem, answers
from nexmdm.platform import metrics, sync_views
from nexmdm.platform.call import Call
from nexmdm.platform.connector import BackendAwayError, ConflictError
from nexmdm.platform.delivery import BRICK, Delivery, MovedError
from nexmdm.platform.events import SYNC_RESOLVED
from nexmdm.platform.object_store import StoreAwayError
from nexmdm.platform.problems import (
    CONFLICT_BUSY,
    CONFLICT_CHANGED,
    CONFLICT_NOT_FOUND,
    CONFLICT_RESOLVED,
    MOUNT_AWAY,
    ZONE_TERMINATING,
)
from nexmdm.platform.resolving import Sides, resolve_as
from nexmdm.platform.state import platform
from nexmdm.platform.sync import IN_ZONE, OF_SYNC, PATH, InTheZone, Point, described, runner
from nexmdm.platform.sync_views import ConflictView, Resolution
from nexmdm.platform.types import ConflictStatus
from nexmdm.platform.zone_row import ZoneEndsError

router = APIRouter(tags=[BRICK], dependencies=IN_ZONE)

_LEASE_S: Final = 60.0
_MOST_S: Final = 50.0  # of them bytes may move

_PAGE: Final = """
    SELECT * FROM mount_conflicts WHERE zone_id = $1 AND ($2::text IS NULL OR status = $2)
        AND ($3::text IS NULL OR mount_point = $3)
        AND ($4::timestamptz IS NULL OR (created_at, conflict_id) < ($4, $5))
    ORDER BY created_at DESC, conflict_id DESC LIMIT $6
"""
_ONE: Final = "SELECT * FROM mount_conflicts WHERE zone_id = $1 AND conflict_id = $2"
_HOLD: Final = """
    UPDATE mount_conflicts SET lease_until = clock_timestamp() + make_interval(secs => $3)
    WHERE zone_id = $1 AND conflict_id = $2 AND status = 'open'
        AND (lease_until IS NULL OR lease_until < clock_timestamp())
    RETURNING *
"""
_LET_GO: Final = """
    UPDATE mount_conflicts SET lease_until = NULL WHERE zone_id = $1 AND conflict_id = $2 AND lease_until = $3
"""
_MOUNT: Final = """
    SELECT zone_id, mount_id, mount_point, backend_type, config, secret, $3::uuid AS uid
    FROM mounts WHERE zone_id = $1 AND mount_id = $2
"""
_REFRESH: Final = """
    UPDATE mount_conflicts SET ours_etag = $4, ours_size = $5, ours_mtime = $6,
        theirs_etag = $7, theirs_size = $8, theirs_mtime = $9
    WHERE zone_id = $1 AND conflict_id = $2 AND lease_until = $3
"""

_resolution: Final[JsonBody[Resolution]] = JsonBody(Resolution)
Status = Annotated[ConflictStatus | None, Query()]


def _id_of(text: str) -> UUID:
    conflict_id = as_id(text)
    if conflict_id is None:
        raise Problem(CONFLICT_NOT_FOUND)
    return conflict_id


@router.get(f"{PATH}/conflicts", responses=answers(*OF_SYNC), **described("listConflicts"))
async def list_conflicts(
    request: Request,
    caller: InTheZone,
    paging: Annotated[Paging, Depends()],
    status: Status = None,
    mount_point: Point = None,
) -> Page[ConflictView]:
    """The conflicts of a zone, the latest first."""
    at, key = paging.after(UUID) or (None, None)
    async with Call(caller, platform(request), BRICK).within() as tx:
        rows = await tx.fetch(_PAGE, caller.zone_id, status, mount_point, at, key, paging.limit + 1)
    shown, cursor = paging.cut(rows, itemgetter("created_at", "conflict_id"))
    return Page(items=[sync_views.conflict(row) for row in shown], next_cursor=cursor)


@router.get(
    f"{PATH}/conflicts/{{conflict_id}}", responses=answers(*OF_SYNC, CONFLICT_NOT_FOUND), **described("getConflict")
)
async def get_conflict(request: Request, caller: InTheZone, conflict_id: IdInPath) -> ConflictView:
    """Look at a conflict."""
    wanted = _id_of(conflict_id)
    return sync_views.conflict(await _shown(Call(caller, platform(request), BRICK), wanted))


async def _shown(call: Call, conflict_id: UUID) -> asyncpg.Record:
    async with call.within() as tx:
        row = await tx.fetchrow(_ONE, call.zone_id, conflict_id)
    if row is None:
        raise Problem(CONFLICT_NOT_FOUND)
    return row


@router.post(
    f"{PATH}/conflicts/{{conflict_id}}/resolve",
    responses=answers(
        *OF_SYNC, *OF_A_BODY, CONFLICT_NOT_FOUND, CONFLICT_RESOLVED, CONFLICT_BUSY, CONFLICT_CHANGED, MOUNT_AWAY
    ),
    **described("resolveConflict", _resolution.openapi),
)
async def resolve(
    request: Request,
    caller: InTheZone,
    conflict_id: IdInPath,
    given: Annotated[Resolution, Depends(_resolution)],
) -> ConflictView:
    """End a conflict, both sides of which have to be as they were last shown."""
    wanted, call, limit = _id_of(conflict_id), Call(caller, platform(request), BRICK), asyncio.timeout(_MOST_S)
    try:
        async with _held(call, wanted) as row, limit:
            ended = await _resolve(call, row, given)
    except TimeoutError:
        if not limit.expired():
            raise
        raise Problem(MOUNT_AWAY) from None
    except ZoneEndsError:
        raise Problem(ZONE_TERMINATING) from None
    if ended is not None:
        metrics.sync_resolved.labels(ended).inc()
        fields = {"conflict_id": conflict_id, "mount_point": row["mount_point"], "strategy": given.strategy}
        emit(SYNC_RESOLVED, zone_id=caller.zone_id, **fields, resolution=ended)
    return sync_views.conflict(await _shown(call, wanted))


@asynccontextmanager
async def _held(call: Call, conflict_id: UUID) -> AsyncIterator[asyncpg.Record]:
    """The row of an open conflict, which nobody else resolves until then. Problem: there is none, or somebody does."""
    async with call.touching() as tx:
        row = await tx.fetchrow(_HOLD, call.zone_id, conflict_id, _LEASE_S)
        if row is None:
            row = await tx.fetchrow(_ONE, call.zone_id, conflict_id)
            if row is None:
                raise Problem(CONFLICT_NOT_FOUND)
            raise Problem(CONFLICT_RESOLVED if row["status"] == "resolved" else CONFLICT_BUSY)
    try:
        yield row
    finally:
        async with call.platform.within(call.zone_id) as tx:
            await tx.execute(_LET_GO, call.zone_id, conflict_id, row["lease_until"])


async def _resolve(call: Call, row: asyncpg.Record, given: Resolution) -> str | None:
    """How it has ended; None: it stays open. Problem: a side has moved, or cannot be asked."""
    async with call.within() as tx:
        mount = await tx.fetchrow(_MOUNT, call.zone_id, row["mount_id"], call.caller.zone_uid)
    if mount is None:
        raise Problem(CONFLICT_NOT_FOUND)  # it went with its mount
    try:
        delivery = runner(call.platform).delivery(mount)
        try:
            return await resolve_as(given.strategy, row, await _sides(row, delivery), delivery)
        except (ConflictError, MovedError, FileNotFoundError):
            now = _told(await _sides(row, delivery, moved=True))
            async with call.platform.within(call.zone_id) as tx:
                await tx.execute(_REFRESH, call.zone_id, row["conflict_id"], row["lease_until"], *now)
            raise Problem(CONFLICT_CHANGED) from None
    except (BackendAwayError, StoreAwayError):
        raise Problem(MOUNT_AWAY) from None


async def _sides(row: asyncpg.Record, delivery: Delivery, *, moved: bool = False) -> Sides:
    """Both sides as they are now. MovedError: they are not as shown, though they should be. Problem: it is gone."""
    ours = await delivery.ours(row["path"], in_conflict=True)
    if ours is None:
        raise Problem(CONFLICT_NOT_FOUND)  # with its mount
    sides = Sides(ours, await delivery.connector.stat(row["path"]))
    if not moved and _told(sides)[::3] != (row["ours_etag"], row["theirs_etag"]):
        raise MovedError
    return sides


def _told(sides: Sides) -> tuple[Any, ...]:
    """Etag, size and time of ours and of theirs, as the row has them."""
    return (*sides.ours.described, *(sides.theirs or (None,) * 3))
