"""The jobs of the pool at an admin's command: the same code that the schedule runs."""

from __future__ import annotations

from time import monotonic, perf_counter
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, BeforeValidator

from nexmdm.http.pagination import IN_DIGITS, refuse_repeated_parameters
from nexmdm.http.runtime import database
from nexmdm.kernel.database import Database
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import VALIDATION_ERROR, Problem, answers
from nexmdm.sandboxes import breaker, deletions, expiry, leases, stale
from nexmdm.sandboxes.auth import ADMIN_ONLY, OF_A_POOL_ADMIN
from nexmdm.sandboxes.breaker import CircuitOpen
from nexmdm.sandboxes.deletions import Cleanup
from nexmdm.sandboxes.events import BULK_DELETED
from nexmdm.sandboxes.job import Over, Report
from nexmdm.sandboxes.problems import (
    CIRCUIT_OPEN,
    PROVIDER_NOT_CONFIGURED,
    PROVIDER_REFUSED,
    SYNC_IMPLAUSIBLE,
    SYNC_RUNNING,
)
from nexmdm.sandboxes.provider import Provider
from nexmdm.sandboxes.schedule import CLEANUP, EXPIRY, STALE, SYNC, perform
from nexmdm.sandboxes.stale import BulkStatus
from nexmdm.sandboxes.state import broker
from nexmdm.sandboxes.sync import sync

router = APIRouter(tags=["jobs"], dependencies=[*ADMIN_ONLY, Depends(refuse_repeated_parameters)])

_CLAIMING_S: Final = 20.0  # how long a request takes on new rows
_OF_A_JOB: Final = (*OF_A_POOL_ADMIN, VALIDATION_ERROR)


def _boolean(value: object) -> object:
    """`true` or `false`, as JSON Schema has it; pydantic would also take `on`, `1` and `yes`."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


class Synced(BaseModel):
    """A sync that was applied: usable entries of the provider's list, and sandboxes that it no longer has."""

    status: Literal["completed"] = "completed"
    synced: int
    marked_stale: int
    duration_ms: float


class CleanedUp(BaseModel):
    """Calls to delete: done, and not done. `remaining` are due and were not reached."""

    status: Literal["completed"] = "completed"
    deleted: int
    failed: int
    remaining: int
    duration_ms: float


class Expired(BaseModel):
    """Allocations that were ended. `remaining` are past their grace and were not reached."""

    status: Literal["completed"] = "completed"
    expired: int
    remaining: int
    duration_ms: float


class Removed(BaseModel):
    """Sandboxes that are off the books. `remaining` were not reached."""

    status: Literal["completed"] = "completed"
    deleted: int
    remaining: int
    duration_ms: float


Force = Annotated[bool, BeforeValidator(_boolean), Query(strict=True)]
Hours = Annotated[int, Query(ge=0, le=8760), IN_DIGITS]


@router.post(
    "/v1/admin/sync",
    operation_id="syncSandboxes",
    responses=answers(
        *_OF_A_JOB, SYNC_RUNNING, PROVIDER_REFUSED, SYNC_IMPLAUSIBLE, CIRCUIT_OPEN, PROVIDER_NOT_CONFIGURED
    ),
)
async def sync_now(request: Request, force: Force = False) -> Synced:
    """Bring the pool in line with the provider's list now; with `force` also where that is implausible."""
    provider, started = _provider(request), perf_counter()
    db, settings = database(request), broker(request).settings
    async with leases.held(db, SYNC.name, None) as lease:
        if lease is None:
            raise Problem(SYNC_RUNNING)
        report = await perform(SYNC, settings, lambda: sync(db, provider, settings, force=force))
        await lease.finish(report.counts, looks_again=False)
    if report.outcome != "completed":
        raise _refusal(report)
    return Synced(synced=report.counts["synced"], marked_stale=report.counts["stale"], duration_ms=_since_ms(started))


@router.post(
    "/v1/admin/cleanup",
    operation_id="cleanUpSandboxes",
    responses=answers(*_OF_A_JOB, CIRCUIT_OPEN, PROVIDER_NOT_CONFIGURED),
)
async def clean_up_now(request: Request) -> CleanedUp:
    """Delete at the provider what waits for it."""
    provider, started = _provider(request), perf_counter()
    db, settings = database(request), broker(request).settings
    cleanup = Cleanup(db, provider, settings, _for_a_while())
    report = await perform(CLEANUP, settings, cleanup.run)
    called = sum(report.counts.values())
    if not called:
        await _closed(db)
    return CleanedUp(
        deleted=report.counts["deleted"],
        failed=called - report.counts["deleted"],
        remaining=await deletions.remaining(db),
        duration_ms=_since_ms(started),
    )


@router.post("/v1/admin/auto-expire", operation_id="expireAllocations", responses=answers(*_OF_A_JOB))
async def expire_now(request: Request) -> Expired:
    """End the allocations that are past their grace."""
    db, settings, started = database(request), broker(request).settings, perf_counter()
    report = await perform(EXPIRY, settings, lambda: expiry.expire(db, _for_a_while()))
    left = await expiry.remaining(db)
    return Expired(expired=report.counts["expired"], remaining=left, duration_ms=_since_ms(started))


@router.post("/v1/admin/auto-delete-stale", operation_id="deleteStaleSandboxes", responses=answers(*_OF_A_JOB))
async def delete_stale_now(request: Request, grace_period_hours: Hours = 24) -> Removed:
    """Remove the sandboxes that have been stale for so many hours."""
    db, settings, started = database(request), broker(request).settings, perf_counter()
    report = await perform(STALE, settings, lambda: stale.remove(db, grace_period_hours, _for_a_while()))
    left = await stale.remaining(db, "stale", grace_period_hours)
    return Removed(deleted=report.counts["deleted"], remaining=left, duration_ms=_since_ms(started))


@router.post("/v1/admin/bulk-delete", operation_id="bulkDeleteSandboxes", responses=answers(*_OF_A_JOB))
async def bulk_delete(request: Request, status: Annotated[BulkStatus, Query()]) -> Removed:
    """Remove every stale sandbox, or give up every failed deletion. The provider is not called."""
    db, started = database(request), perf_counter()
    report = await stale.bulk_delete(db, status, _for_a_while())
    emit(BULK_DELETED, status=status, deleted=report.counts["deleted"])
    left = await stale.remaining(db, status)
    return Removed(deleted=report.counts["deleted"], remaining=left, duration_ms=_since_ms(started))


def _provider(request: Request) -> Provider:
    provider = broker(request).provider
    if provider is None:
        raise Problem(PROVIDER_NOT_CONFIGURED)
    return provider


async def _closed(db: Database) -> None:
    try:
        await breaker.check(db)
    except CircuitOpen as error:
        raise Problem(CIRCUIT_OPEN, headers={"Retry-After": str(error.retry_after_s)}) from None


def _refusal(report: Report) -> Problem:
    if report.outcome == "circuit_open":
        return Problem(CIRCUIT_OPEN, headers={"Retry-After": str(report.retry_after_s)})
    kinds = {"implausible": SYNC_IMPLAUSIBLE, "superseded": SYNC_RUNNING}
    return Problem(kinds.get(report.outcome, PROVIDER_REFUSED))


def _for_a_while() -> Over:
    until = monotonic() + _CLAIMING_S
    return lambda: monotonic() >= until


def _since_ms(started: float) -> float:
    return round((perf_counter() - started) * 1000, 3)
