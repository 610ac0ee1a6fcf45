"""A track's own side: look at a sandbox, keep it for longer, give it back.

To give back and to extend are one conditional statement each; where it finds no row, a second one reads why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, NoReturn

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel

from nexmdm.kernel.database import Operation
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import VALIDATION_ERROR, Problem, answers
from nexmdm.sandboxes import metrics
from nexmdm.sandboxes.auth import (
    OF_A_TRACK,
    TRACK_HEADERS,
    TRACKS_ONLY,
    CurrentTrack,
    Track,
)
from nexmdm.sandboxes.events import EXTENDED, RELEASED
from nexmdm.sandboxes.problems import (
    ALLOCATION_EXPIRED,
    ALLOCATION_REVOKED,
    EXTENSION_LIMIT,
    NO_ALLOCATION,
    NOT_SANDBOX_OWNER,
    SANDBOX_NOT_FOUND,
)
from nexmdm.sandboxes.state import broker
from nexmdm.sandboxes.types import EndReason, SandboxId, SandboxStatus, UnixTime

router = APIRouter(tags=["allocations"], dependencies=TRACKS_ONLY)

_OF_AN_OWNER: Final = (*OF_A_TRACK, NOT_SANDBOX_OWNER, SANDBOX_NOT_FOUND, VALIDATION_ERROR)

_VIEW: Final = """
    SELECT s.sandbox_id, s.name, s.external_id, s.status, a.track_id, a.track_name, a.allocated_at, a.expires_at,
        a.deadline, a.ended_at, a.end_reason, a.ended_at IS NULL AND a.grace_until >= clock_timestamp() AS in_grace
    FROM sandboxes AS s JOIN allocations AS a USING (sandbox_id)
"""
_BY_ID: Final = f"{_VIEW} WHERE s.sandbox_id = $1"
_LIVE: Final = f"{_VIEW} WHERE a.track_id = $1 AND a.ended_at IS NULL"
# The row is locked before the clock is read: a request that waited is judged by the time it got it.
_RELEASE: Final = """
    WITH held AS (
        SELECT allocation_id, grace_until FROM allocations
        WHERE sandbox_id = $1 AND track_id = $2 AND ended_at IS NULL FOR NO KEY UPDATE
    ), released AS (
        UPDATE allocations AS a SET ended_at = date_trunc('second', clock_timestamp()), end_reason = 'released'
        FROM held WHERE a.allocation_id = held.allocation_id AND held.grace_until >= clock_timestamp()
        RETURNING a.sandbox_id, a.ended_at, a.track_name
    )
    UPDATE sandboxes AS s
    SET status = 'pending_deletion', status_since = clock_timestamp(), next_attempt_at = clock_timestamp()
    FROM released WHERE s.sandbox_id = released.sandbox_id
    RETURNING released.ended_at, released.track_name
"""
_EXTEND: Final = """
    WITH held AS (
        SELECT allocation_id, expires_at, grace_until, deadline, duration_s FROM allocations
        WHERE sandbox_id = $1 AND track_id = $2 AND ended_at IS NULL FOR NO KEY UPDATE
    ), later AS MATERIALIZED (
        SELECT allocation_id, grace_until - expires_at AS grace, greatest(expires_at, least(
            date_trunc('second', clock_timestamp()) + make_interval(secs => duration_s), deadline
        )) AS at
        FROM held WHERE grace_until >= clock_timestamp() AND expires_at < deadline
    )
    UPDATE allocations AS a SET expires_at = later.at, grace_until = later.at + later.grace
    FROM later WHERE a.allocation_id = later.allocation_id
    RETURNING a.allocation_id
"""


class SandboxView(BaseModel):
    """A sandbox as its track sees it, also when it is over. Times are Unix seconds."""

    sandbox_id: str
    name: str
    external_id: str
    status: SandboxStatus
    allocated_at: UnixTime
    expires_at: UnixTime
    ended_at: UnixTime | None
    end_reason: EndReason | None
    track_name: str | None


class Release(BaseModel):
    """A sandbox that is to be deleted. Times are Unix seconds."""

    sandbox_id: str
    status: Literal["pending_deletion"] = "pending_deletion"
    deletion_requested_at: UnixTime
    track_name: str | None


def view(row: Mapping[str, Any]) -> SandboxView:
    """A row of `_VIEW`."""
    return SandboxView.model_validate(dict(row))


async def _first(request: Request, statement: str, *arguments: str) -> Any:
    """The first row, None where there is none."""
    rows = await broker(request).statements.fetch(statement, *arguments)
    return rows[0] if rows else None


async def _owned(request: Request, sandbox_id: str, track: Track) -> Any:
    """The row of a sandbox that is or was the track's. What was never given is unknown to every track."""
    row = await _first(request, _BY_ID, sandbox_id)
    if row is None:
        raise Problem(SANDBOX_NOT_FOUND)
    if row["track_id"] != track.track_id:
        raise Problem(NOT_SANDBOX_OWNER)
    return row


def _over(row: Any) -> NoReturn:
    raise Problem(ALLOCATION_REVOKED if row["end_reason"] == "revoked" else ALLOCATION_EXPIRED)


@router.get(
    "/v1/allocations/current",
    operation_id="getCurrentAllocation",
    responses=answers(*OF_A_TRACK, NO_ALLOCATION),
    openapi_extra={"parameters": TRACK_HEADERS},
)
async def current(request: Request, track: CurrentTrack) -> SandboxView:
    """Look at the track's live sandbox."""
    row = await _first(request, _LIVE, track.track_id)
    if row is None or not row["in_grace"]:
        raise Problem(NO_ALLOCATION)
    return view(row)


@router.get(
    "/v1/sandboxes/{sandbox_id}",
    operation_id="getSandbox",
    responses=answers(*_OF_AN_OWNER),
    openapi_extra={"parameters": TRACK_HEADERS},
)
async def look(sandbox_id: Annotated[SandboxId, Path()], request: Request, track: CurrentTrack) -> SandboxView:
    """Look at a sandbox that is or was the track's."""
    return view(await _owned(request, sandbox_id, track))


@router.post(
    "/v1/sandboxes/{sandbox_id}/mark-for-deletion",
    operation_id="releaseSandbox",
    responses=answers(*_OF_AN_OWNER, ALLOCATION_EXPIRED, ALLOCATION_REVOKED),
    openapi_extra={"parameters": TRACK_HEADERS},
)
async def release(sandbox_id: Annotated[SandboxId, Path()], request: Request, track: CurrentTrack) -> Release:
    """Give a sandbox back."""
    try:
        return await _release(request, sandbox_id, track)
    except Problem:
        metrics.releases.labels("refused").inc()
        raise


async def _release(request: Request, sandbox_id: str, track: Track) -> Release:
    with Operation("update", "allocations", sandbox_id=sandbox_id) as operation:
        done = await _first(request, _RELEASE, sandbox_id, track.track_id)
        operation.keys["rows"] = int(done is not None)
    row = done or await _owned(request, sandbox_id, track)
    if done is not None:
        metrics.releases.labels("released").inc()
        emit(RELEASED, sandbox_id=sandbox_id, track_id=track.track_id, track_name=row["track_name"])
    elif row["end_reason"] == "released":
        metrics.releases.labels("replay").inc()
    else:
        _over(row)
    return Release(sandbox_id=sandbox_id, deletion_requested_at=row["ended_at"], track_name=row["track_name"])


@router.post(
    "/v1/sandboxes/{sandbox_id}/extend",
    operation_id="extendSandbox",
    responses=answers(*_OF_AN_OWNER, ALLOCATION_EXPIRED, ALLOCATION_REVOKED, EXTENSION_LIMIT),
    openapi_extra={"parameters": TRACK_HEADERS},
)
async def extend(sandbox_id: Annotated[SandboxId, Path()], request: Request, track: CurrentTrack) -> SandboxView:
    """Keep a sandbox for its duration from now on, within its deadline."""
    with Operation("update", "allocations", sandbox_id=sandbox_id) as operation:
        done = await _first(request, _EXTEND, sandbox_id, track.track_id)
        operation.keys["rows"] = int(done is not None)
    row = await _owned(request, sandbox_id, track)
    if done is None:
        if row["in_grace"]:
            raise Problem(EXTENSION_LIMIT)
        _over(row)
    seen = view(row)
    emit(EXTENDED, sandbox_id=sandbox_id, track_id=track.track_id, expires_at=seen.expires_at)
    return seen
