"""A track's own side: get a sandbox, look at it, keep it for longer, give it back.

To give back and to extend are one conditional statement each; where it finds no row, a second one reads why.
"""

from __future__ import annotations

from time import perf_counter
from typing import Annotated, Any, Final, Literal, NoReturn

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel
from sqlalchemy import text

from nexmdm.http.admission import leave_admission
from nexmdm.http.problems import OF_A_TOKEN
from nexmdm.http.runtime import Session, database
from nexmdm.kernel import keys
from nexmdm.kernel.database import Operation
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import VALIDATION_ERROR, Problem, answers
from nexmdm.sandboxes import metrics
from nexmdm.sandboxes.allocator import Ask, Contended
from nexmdm.sandboxes.auth import (
    ALLOCATE_HEADERS,
    TRACK,
    TRACK_HEADERS,
    TRACKS_ONLY,
    Asking,
    AskingTrack,
    CurrentTrack,
    Track,
    refused_after_all,
)
from nexmdm.sandboxes.events import ALLOCATED, EXHAUSTED, EXTENDED, PARKED, RELEASED, REPLAYED
from nexmdm.sandboxes.prefer import wait_s
from nexmdm.sandboxes.problems import (
    ALLOCATION_CONTENDED,
    ALLOCATION_ENDED,
    ALLOCATION_EXPIRED,
    ALLOCATION_REVOKED,
    EXTENSION_LIMIT,
    IDEMPOTENCY_KEY_INVALID,
    NO_ALLOCATION,
    NO_SANDBOXES_AVAILABLE,
    NOT_SANDBOX_OWNER,
    SANDBOX_NOT_FOUND,
    TRACK_ID_INVALID,
    TRACK_ID_MISSING,
    TRACK_NAME_INVALID,
    TRACK_REQUIRED,
)
from nexmdm.sandboxes.state import broker
from nexmdm.sandboxes.types import EndReason, SandboxId, SandboxStatus, UnixTime
from nexmdm.sandboxes.waiting import Answer

router = APIRouter(tags=["allocations"], dependencies=TRACKS_ONLY)

_OF_A_TRACK: Final = (*OF_A_TOKEN, TRACK_REQUIRED, TRACK_ID_MISSING, TRACK_ID_INVALID, TRACK_NAME_INVALID)
_OF_AN_OWNER: Final = (*_OF_A_TRACK, NOT_SANDBOX_OWNER, SANDBOX_NOT_FOUND, VALIDATION_ERROR)
_EXHAUSTED_PAUSE_S: Final = 30
_CONTENDED_PAUSE_S: Final = 1

_VIEW: Final = """
    SELECT s.sandbox_id, s.name, s.external_id, s.status, a.track_id, a.track_name, a.allocated_at, a.expires_at,
        a.deadline, a.ended_at, a.end_reason, a.ended_at IS NULL AND a.grace_until >= clock_timestamp() AS in_grace
    FROM sandboxes AS s JOIN allocations AS a USING (sandbox_id)
"""
_BY_ID: Final = text(f"{_VIEW} WHERE s.sandbox_id = :sandbox_id")
_LIVE: Final = text(f"{_VIEW} WHERE a.track_id = :track_id AND a.ended_at IS NULL")
_RELEASE: Final = text(
    """
    WITH released AS (
        UPDATE allocations SET ended_at = date_trunc('second', clock_timestamp()), end_reason = 'released'
        WHERE sandbox_id = :sandbox_id AND track_id = :track_id AND ended_at IS NULL
            AND grace_until >= clock_timestamp()
        RETURNING sandbox_id, ended_at, track_name
    )
    UPDATE sandboxes AS s
    SET status = 'pending_deletion', status_since = clock_timestamp(), next_attempt_at = clock_timestamp()
    FROM released WHERE s.sandbox_id = released.sandbox_id
    RETURNING released.ended_at, released.track_name
    """
)
_EXTEND: Final = text(
    """
    UPDATE allocations AS a SET expires_at = later.at, grace_until = later.at + (a.grace_until - a.expires_at)
    FROM (
        SELECT allocation_id, greatest(expires_at, least(
            date_trunc('second', clock_timestamp()) + make_interval(secs => duration_s), deadline
        )) AS at
        FROM allocations WHERE sandbox_id = :sandbox_id FOR NO KEY UPDATE
    ) AS later
    WHERE a.allocation_id = later.allocation_id AND a.track_id = :track_id AND a.ended_at IS NULL
        AND a.grace_until >= clock_timestamp() AND a.expires_at < a.deadline
    RETURNING a.allocation_id
    """
)


class Allocation(BaseModel):
    """A sandbox that is the track's. Times are Unix seconds."""

    sandbox_id: str
    name: str
    external_id: str
    allocated_at: UnixTime
    expires_at: UnixTime
    track_name: str | None


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


def view(row: Any) -> SandboxView:
    """A row of `_VIEW`."""
    return SandboxView.model_validate(row, from_attributes=True)


async def _owned(session: Session, sandbox_id: str, track: Track) -> Any:
    """The row of a sandbox that is or was the track's. What was never given is unknown to every track."""
    row = (await session.execute(_BY_ID, {"sandbox_id": sandbox_id})).first()
    if row is None:
        raise Problem(SANDBOX_NOT_FOUND)
    if row.track_id != track.track_id:
        raise Problem(NOT_SANDBOX_OWNER)
    return row


def _over(row: Any) -> NoReturn:
    raise Problem(ALLOCATION_REVOKED if row.end_reason == "revoked" else ALLOCATION_EXPIRED)


async def _decide(request: Request, asking: Asking, wait_s: int) -> Answer:
    track = asking.track
    ask = Ask(asking.key_hash, track.track_id, track.track_name, track.idempotency_key)

    def park() -> None:
        leave_admission(request.scope)
        emit(PARKED, track_id=track.track_id, track_name=track.track_name, wait_s=wait_s)

    answer = await broker(request).queue.allocate(ask, wait_s, park)
    if answer.decision.outcome == "refused":
        await refused_after_all(request, asking)
        raise Contended  # the key is good by now
    if answer.decision.key_is_due:
        await keys.verify(database(request), asking.key, TRACK, "sandboxes")
    return answer


@router.post(
    "/v1/allocate",
    operation_id="allocateSandbox",
    status_code=201,
    responses=answers(
        *_OF_A_TRACK, IDEMPOTENCY_KEY_INVALID, NO_SANDBOXES_AVAILABLE, ALLOCATION_ENDED, ALLOCATION_CONTENDED
    )
    | {200: {"model": Allocation}},
    openapi_extra={"parameters": ALLOCATE_HEADERS},
)
async def allocate(request: Request, response: Response, asking: AskingTrack) -> Allocation:
    """Get a sandbox; a track that has one gets that one."""
    started, outcome, parked_s = perf_counter(), "error", 0.0
    seconds = wait_s(request.headers.getlist("prefer"))
    try:
        answer = await _decide(request, asking, seconds)
        outcome, parked_s = answer.decision.outcome, answer.parked_s or 0.0
    except Contended:
        outcome = "contended"
        raise Problem(ALLOCATION_CONTENDED, headers={"Retry-After": str(_CONTENDED_PAUSE_S)}) from None
    except Problem:
        outcome = ""  # refused before it was judged
        raise
    finally:
        if outcome:
            metrics.allocations.labels(outcome).inc()
            metrics.allocation_duration.labels(outcome).observe(max(0.0, perf_counter() - started - parked_s))
    track, given = asking.track, answer.decision.given
    applied = {} if answer.parked_s is None else {"Preference-Applied": f"wait={seconds}"}
    if given is None:
        if outcome == "ended":
            raise Problem(ALLOCATION_ENDED)
        emit(EXHAUSTED, track_id=track.track_id, track_name=track.track_name, queue_position=answer.position)
        raise Problem(
            NO_SANDBOXES_AVAILABLE,
            headers={"Retry-After": str(_EXHAUSTED_PAUSE_S), **applied},
            extra={} if answer.position is None else {"queue_position": answer.position},
        )
    response.headers.update(applied)
    if outcome == "replay":
        response.status_code = 200
        response.headers["Idempotent-Replay"] = "true"
    emit(
        REPLAYED if outcome == "replay" else ALLOCATED,
        sandbox_id=given.sandbox_id,
        track_id=track.track_id,
        track_name=given.track_name,
    )
    return Allocation.model_validate(given, from_attributes=True)


@router.get(
    "/v1/allocations/current",
    operation_id="getCurrentAllocation",
    responses=answers(*_OF_A_TRACK, NO_ALLOCATION),
    openapi_extra={"parameters": TRACK_HEADERS},
)
async def current(session: Session, track: CurrentTrack) -> SandboxView:
    """Look at the track's live sandbox."""
    row = (await session.execute(_LIVE, {"track_id": track.track_id})).first()
    if row is None or not row.in_grace:
        raise Problem(NO_ALLOCATION)
    return view(row)


@router.get(
    "/v1/sandboxes/{sandbox_id}",
    operation_id="getSandbox",
    responses=answers(*_OF_AN_OWNER),
    openapi_extra={"parameters": TRACK_HEADERS},
)
async def look(sandbox_id: Annotated[SandboxId, Path()], session: Session, track: CurrentTrack) -> SandboxView:
    """Look at a sandbox that is or was the track's."""
    return view(await _owned(session, sandbox_id, track))


@router.post(
    "/v1/sandboxes/{sandbox_id}/mark-for-deletion",
    operation_id="releaseSandbox",
    responses=answers(*_OF_AN_OWNER, ALLOCATION_EXPIRED, ALLOCATION_REVOKED),
    openapi_extra={"parameters": TRACK_HEADERS},
)
async def release(sandbox_id: Annotated[SandboxId, Path()], session: Session, track: CurrentTrack) -> Release:
    """Give a sandbox back."""
    try:
        return await _release(session, sandbox_id, track)
    except Problem:
        metrics.releases.labels("refused").inc()
        raise


async def _release(session: Session, sandbox_id: str, track: Track) -> Release:
    with Operation("update", "allocations", sandbox_id=sandbox_id) as operation:
        named = {"sandbox_id": sandbox_id, "track_id": track.track_id}
        done = (await session.execute(_RELEASE, named)).first()
        await session.commit()
        operation.keys["rows"] = int(done is not None)
    if done is None:
        row = await _owned(session, sandbox_id, track)
        if row.end_reason != "released":
            _over(row)
        metrics.releases.labels("replay").inc()
        return Release(sandbox_id=sandbox_id, deletion_requested_at=row.ended_at, track_name=row.track_name)
    metrics.releases.labels("released").inc()
    emit(RELEASED, sandbox_id=sandbox_id, track_id=track.track_id, track_name=done.track_name)
    return Release(sandbox_id=sandbox_id, deletion_requested_at=done.ended_at, track_name=done.track_name)


@router.post(
    "/v1/sandboxes/{sandbox_id}/extend",
    operation_id="extendSandbox",
    responses=answers(*_OF_AN_OWNER, ALLOCATION_EXPIRED, ALLOCATION_REVOKED, EXTENSION_LIMIT),
    openapi_extra={"parameters": TRACK_HEADERS},
)
async def extend(sandbox_id: Annotated[SandboxId, Path()], session: Session, track: CurrentTrack) -> SandboxView:
    """Keep a sandbox for its duration from now on, within its deadline."""
    with Operation("update", "allocations", sandbox_id=sandbox_id) as operation:
        named = {"sandbox_id": sandbox_id, "track_id": track.track_id}
        done = (await session.execute(_EXTEND, named)).first()
        await session.commit()
        operation.keys["rows"] = int(done is not None)
    row = await _owned(session, sandbox_id, track)
    if done is None:
        if row.in_grace:
            raise Problem(EXTENSION_LIMIT)
        _over(row)
    seen = view(row)
    emit(EXTENDED, sandbox_id=sandbox_id, track_id=track.track_id, expires_at=seen.expires_at)
    return seen
