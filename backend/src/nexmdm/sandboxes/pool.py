"""The pool as the admin sees it: list sandboxes, revoke an allocation, try a failed deletion again.

Each decision is one conditional statement; where it finds no row, a second one reads why. An allocation ends before its
sandbox changes, as in a release, so that of two who end it one wins.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, StringConstraints
from sqlalchemy import Select, TextClause, select, text
from sqlmodel import col

from nexmdm.http.json_body import JsonBody
from nexmdm.http.pagination import Page, Paging
from nexmdm.http.problems import OF_A_BODY
from nexmdm.http.runtime import Session
from nexmdm.http.types import FREE_TEXT, Shape
from nexmdm.kernel.database import Operation
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import VALIDATION_ERROR, Problem, ProblemType, answers
from nexmdm.sandboxes.auth import ADMIN_ONLY, OF_A_POOL_ADMIN
from nexmdm.sandboxes.events import DELETION_RETRIED, REVOKED
from nexmdm.sandboxes.problems import NOT_ALLOCATED, NOT_DELETION_FAILED, SANDBOX_NOT_FOUND
from nexmdm.sandboxes.tables import Allocation, Sandbox
from nexmdm.sandboxes.types import EndReason, SandboxId, SandboxStatus, UnixTime

router = APIRouter(tags=["sandboxes"], dependencies=ADMIN_ONLY)

TrackText = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,255}$")]  # as the header of a track may be

_OF_AN_ADMIN: Final = (*OF_A_POOL_ADMIN, VALIDATION_ERROR)
_REVOKE: Final = text(
    """
    WITH revoked AS (
        UPDATE allocations
        SET ended_at = date_trunc('second', clock_timestamp()), end_reason = 'revoked', revoke_reason = :reason
        WHERE sandbox_id = :sandbox_id AND ended_at IS NULL
        RETURNING sandbox_id, track_id, track_name
    )
    UPDATE sandboxes AS s
    SET status = 'pending_deletion', status_since = clock_timestamp(), next_attempt_at = clock_timestamp()
    FROM revoked WHERE s.sandbox_id = revoked.sandbox_id
    RETURNING revoked.track_id, revoked.track_name
    """
)
_RETRY: Final = text(
    """
    UPDATE sandboxes
    SET status = 'pending_deletion', status_since = clock_timestamp(), next_attempt_at = clock_timestamp(),
        delete_attempts = 0
    WHERE sandbox_id = :sandbox_id AND status = 'deletion_failed'
    RETURNING sandbox_id
    """
)


class PoolSandbox(BaseModel):
    """A sandbox, with the allocation that it has or had. Times are Unix seconds."""

    sandbox_id: str
    name: str
    external_id: str
    status: SandboxStatus
    status_since: UnixTime
    created_at: UnixTime
    track_id: str | None
    track_name: str | None
    allocated_at: UnixTime | None
    expires_at: UnixTime | None
    ended_at: UnixTime | None
    end_reason: EndReason | None
    revoke_reason: str | None
    delete_attempts: int
    next_attempt_at: UnixTime | None
    last_error: str | None


class Revocation(Shape):
    """Why the allocation is ended before its time."""

    reason: Annotated[str, StringConstraints(pattern=FREE_TEXT, min_length=1, max_length=500)]


_revocation = JsonBody[Revocation](Revocation)


def _select() -> Select[*tuple[Any, ...]]:
    return select(
        col(Sandbox.sandbox_id),
        col(Sandbox.name),
        col(Sandbox.external_id),
        col(Sandbox.status),
        col(Sandbox.status_since),
        col(Sandbox.created_at),
        col(Sandbox.delete_attempts),
        col(Sandbox.next_attempt_at),
        col(Sandbox.last_error),
        col(Allocation.track_id),
        col(Allocation.track_name),
        col(Allocation.allocated_at),
        col(Allocation.expires_at),
        col(Allocation.ended_at),
        col(Allocation.end_reason),
        col(Allocation.revoke_reason),
    ).outerjoin(Allocation, col(Allocation.sandbox_id) == col(Sandbox.sandbox_id))


def _view(row: Any) -> PoolSandbox:
    return PoolSandbox.model_validate(row, from_attributes=True)


async def _find(session: Session, sandbox_id: str) -> PoolSandbox:
    row = (await session.execute(_select().where(col(Sandbox.sandbox_id) == sandbox_id))).first()
    if row is None:
        raise Problem(SANDBOX_NOT_FOUND)
    return _view(row)


async def _change(
    session: Session, statement: TextClause, entity: str, otherwise: ProblemType, sandbox_id: str, **given: str
) -> Any:
    """The row that a conditional statement returns, committed.

    Raises:
        Problem: `sandbox_not_found`, or `otherwise` where the sandbox is in another state.
    """
    with Operation("update", entity, sandbox_id=sandbox_id) as operation:
        done = (await session.execute(statement, {"sandbox_id": sandbox_id, **given})).first()
        await session.commit()
        operation.keys["rows"] = int(done is not None)
    if done is None:
        seen = await _find(session, sandbox_id)
        raise Problem(otherwise, f"The sandbox is {seen.status}.")
    return done


async def revoke_allocation(session: Session, sandbox_id: str, reason: str) -> PoolSandbox:
    """End an allocation for its track, also one past its grace that no sweep has ended yet."""
    done = await _change(session, _REVOKE, "allocations", NOT_ALLOCATED, sandbox_id, reason=reason)
    emit(REVOKED, sandbox_id=sandbox_id, track_id=done.track_id, track_name=done.track_name)
    return await _find(session, sandbox_id)


async def retry_deletion(session: Session, sandbox_id: str) -> PoolSandbox:
    """Have a deletion that was given up tried again, with all its attempts."""
    await _change(session, _RETRY, "sandboxes", NOT_DELETION_FAILED, sandbox_id)
    emit(DELETION_RETRIED, sandbox_id=sandbox_id)
    return await _find(session, sandbox_id)


@router.get("/v1/admin/sandboxes", operation_id="listSandboxes", responses=answers(*_OF_AN_ADMIN))
async def list_sandboxes(
    paging: Annotated[Paging, Depends()],
    session: Session,
    status: SandboxStatus | None = None,
    track: Annotated[TrackText | None, Query()] = None,
    track_name: Annotated[TrackText | None, Query()] = None,
) -> Page[PoolSandbox]:
    """List sandboxes, newest first, each with the allocation that it has or had."""
    query = _select()
    if status is not None:
        query = query.where(col(Sandbox.status) == status)
    if track is not None:
        query = query.where(col(Allocation.track_id) == track)
    if track_name is not None:
        query = query.where(col(Allocation.track_name) == track_name)
    return await paging.read(session, query, col(Sandbox.created_at), col(Sandbox.sandbox_id), _view)


@router.post(
    "/v1/admin/sandboxes/{sandbox_id}/revoke",
    operation_id="revokeSandbox",
    responses=answers(*OF_A_BODY, *_OF_AN_ADMIN, SANDBOX_NOT_FOUND, NOT_ALLOCATED),
    openapi_extra=_revocation.openapi,
)
async def revoke(
    sandbox_id: Annotated[SandboxId, Path()],
    revocation: Annotated[Revocation, Depends(_revocation)],
    session: Session,
) -> PoolSandbox:
    """Take a sandbox away from its track."""
    return await revoke_allocation(session, sandbox_id, revocation.reason)


@router.post(
    "/v1/admin/sandboxes/{sandbox_id}/retry-deletion",
    operation_id="retrySandboxDeletion",
    responses=answers(*_OF_AN_ADMIN, SANDBOX_NOT_FOUND, NOT_DELETION_FAILED),
)
async def retry(sandbox_id: Annotated[SandboxId, Path()], session: Session) -> PoolSandbox:
    """Try a failed deletion again."""
    return await retry_deletion(session, sandbox_id)
