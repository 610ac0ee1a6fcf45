"""Cleanup: deletes at the provider what waits for it. Each call has a lease on its row, and counts under that alone.

A process that dies leaves a lease that runs out; the sandbox is then asked for once more, and the provider's 404 says
that it is gone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy import text

from nexmdm.kernel.database import Database, report_outage
from nexmdm.kernel.log import emit
from nexmdm.sandboxes import breaker, metrics
from nexmdm.sandboxes.breaker import Probe
from nexmdm.sandboxes.events import DELETED, DELETION_FAILED, DELETION_RETRY
from nexmdm.sandboxes.job import BATCH, Over, Report, commit, count
from nexmdm.sandboxes.provider import Deletion, Provider
from nexmdm.sandboxes.settings import LEASE_MARGIN_S, SandboxSettings
from nexmdm.sandboxes.types import DELETIONS

_OUTAGE_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 86_400.0  # that a 429 may ask for

_TAKE_BACK: Final = text(
    """
    UPDATE sandboxes SET
        status = 'pending_deletion', status_since = clock_timestamp(), next_attempt_at = clock_timestamp(),
        lease_id = NULL, lease_until = NULL
    WHERE sandbox_id IN (
        SELECT sandbox_id FROM sandboxes WHERE status = 'deleting' AND lease_until < now()
        ORDER BY lease_until LIMIT :batch FOR UPDATE SKIP LOCKED)
    RETURNING sandbox_id
    """
)
# In one statement with the state of the breaker: while that is open nothing is claimed, but by its probe.
_CLAIM: Final = text(
    """
    UPDATE sandboxes SET
        status = 'deleting', status_since = clock_timestamp(), next_attempt_at = NULL,
        lease_id = gen_random_uuid(), lease_until = clock_timestamp() + make_interval(secs => :lease_s)
    WHERE sandbox_id = (
        SELECT sandbox_id FROM sandboxes WHERE status = 'pending_deletion' AND next_attempt_at <= now()
        ORDER BY next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    AND EXISTS (
        SELECT FROM breaker WHERE name = 'provider' AND open_until IS NOT DISTINCT FROM CAST(:probe AS timestamptz)
            AND (paused_until IS NULL OR paused_until <= now()))
    RETURNING sandbox_id, external_id, lease_id, delete_attempts
    """
)
_DELETED: Final = text(
    """
    UPDATE sandboxes SET
        status = 'deleted', status_since = clock_timestamp(), deleted_at = clock_timestamp(),
        lease_id = NULL, lease_until = NULL, last_error = NULL
    WHERE sandbox_id = :sandbox_id AND lease_id = :lease_id AND status = 'deleting'
    RETURNING status, delete_attempts
    """
)
_NOT_DELETED: Final = text(
    """
    UPDATE sandboxes SET
        status = CASE WHEN delete_attempts + :counts >= :most THEN 'deletion_failed' ELSE 'pending_deletion' END,
        next_attempt_at = CASE WHEN delete_attempts + :counts < :most
            THEN clock_timestamp() + make_interval(secs => :delay_s) END,
        status_since = clock_timestamp(), delete_attempts = delete_attempts + :counts, last_error = :reason,
        lease_id = NULL, lease_until = NULL
    WHERE sandbox_id = :sandbox_id AND lease_id = :lease_id AND status = 'deleting'
    RETURNING status, delete_attempts
    """
)
_PAUSE: Final = text(
    """
    UPDATE breaker SET paused_until = greatest(paused_until, clock_timestamp() + make_interval(secs => :pause_s))
    WHERE name = 'provider' RETURNING name
    """
)
_DUE: Final = text("SELECT count(*) FROM sandboxes WHERE status = 'pending_deletion' AND next_attempt_at <= now()")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Claim:
    """A sandbox that is to be deleted now. `since`: a moment before its lease began, on our own clock."""

    since: float
    sandbox_id: str
    external_id: str
    lease_id: UUID
    delete_attempts: int


class Cleanup:
    """One run. `over`: whether it is to claim nothing more; what it has begun is finished all the same."""

    def __init__(self, db: Database, provider: Provider, settings: SandboxSettings, over: Over) -> None:
        self._db, self._provider, self._settings, self._over = db, provider, settings, over
        self._done = Counter[str]()

    async def run(self) -> Report:
        """Delete until nothing is due, or nothing may be called."""
        while not self._over():
            probe = await breaker.probe(self._db, self._settings)
            if probe is not None:
                claimed = await self._claim(probe)
                if claimed is None:
                    await breaker.give_back(self._db, probe)
                    break
                await self._delete(claimed, probe)
            elif not await self._work_at_once():
                break
        return Report({outcome: self._done[outcome] for outcome in DELETIONS})

    async def _work_at_once(self) -> int:
        """As many calls at once as the settings allow; gives how many there were."""
        workers = [self._work() for _ in range(self._settings.deletion_concurrency)]
        ended = await asyncio.gather(*workers, return_exceptions=True)  # each records what it was answered
        for end in ended:
            if isinstance(end, BaseException):
                raise end
        return sum(calls for calls in ended if isinstance(calls, int))

    async def _work(self) -> int:
        """Claim one, call, record it, and so on: nothing is claimed that is not called at once."""
        calls = 0
        while not self._over() and (claimed := await self._claim(None)) is not None:
            await self._delete(claimed, None)
            calls += 1
        return calls

    async def _claim(self, probe: Probe) -> Claim | None:
        since = monotonic()
        await commit(self._db, _TAKE_BACK, batch=BATCH)
        rows = await commit(self._db, _CLAIM, lease_s=self._settings.deletion_lease_s, probe=probe)
        return Claim(since, *rows[0]) if rows else None

    async def _delete(self, claimed: Claim, probe: Probe) -> None:
        settings = self._settings
        if monotonic() - claimed.since > settings.deletion_lease_s - settings.provider_timeout_s - LEASE_MARGIN_S:
            self._count("lost")  # we stood still, and the call might outlast the lease
            return
        started = perf_counter()
        deletion = await self._provider.delete(claimed.external_id)
        latency_ms = round((perf_counter() - started) * 1000, 3)
        await self._through_outages(claimed, lambda: breaker.heard(self._db, settings, deletion.status, probe))
        await self._record(claimed, deletion, latency_ms, is_probe=probe is not None)

    async def _record(self, claimed: Claim, deletion: Deletion, latency_ms: float, *, is_probe: bool) -> None:
        delay_s = self._delay_s(claimed, deletion)
        if deletion.outcome == "rate_limited":
            await self._through_outages(claimed, lambda: commit(self._db, _PAUSE, pause_s=delay_s))
        named = {"sandbox_id": claimed.sandbox_id, "lease_id": claimed.lease_id}
        if deletion.outcome == "gone":
            rows = await self._through_outages(claimed, lambda: commit(self._db, _DELETED, **named))
        else:
            failed = {
                "counts": int(deletion.outcome == "failed" and not is_probe),
                "most": self._settings.deletion_attempts,
                "delay_s": delay_s,
                "reason": deletion.reason,
            }
            rows = await self._through_outages(claimed, lambda: commit(self._db, _NOT_DELETED, **named, **failed))
        if not rows:
            self._count("lost")
            return
        fields = {
            "sandbox_id": claimed.sandbox_id,
            "attempts": rows[0].delete_attempts,
            "answer": deletion.reason,
            "latency_ms": latency_ms,
        }
        if deletion.outcome == "gone":
            self._count("deleted")
            emit(DELETED, **fields)
        elif rows[0].status == "deletion_failed":
            self._count("gave_up")
            emit(DELETION_FAILED, "error", **fields)
        else:
            self._count(deletion.outcome)
            emit(DELETION_RETRY, "warning", retry_in_s=delay_s, **fields)

    def _delay_s(self, claimed: Claim, deletion: Deletion) -> float:
        """When the sandbox is tried again; of a 429: when anything is."""
        base_s, cap_s = self._settings.deletion_backoff_base_s, self._settings.deletion_backoff_cap_s
        if deletion.outcome == "rate_limited":
            return min(deletion.retry_after_s or base_s, _LONGEST_PAUSE_S)
        return min(cap_s, base_s * 2.0 ** min(claimed.delete_attempts, 32))

    def _count(self, outcome: str) -> None:
        self._done[outcome] += 1
        metrics.deletions.labels(outcome).inc()

    async def _through_outages(self, claimed: Claim, work: Callable[[], Awaitable[T]]) -> T:
        """Try until the database is there: what the provider has answered must be recorded, not lost.

        Once the lease has run out the outage is raised: another may have the row by then.
        """
        while True:
            try:
                return await work()
            except Exception as error:
                report_outage(error)
                if monotonic() - claimed.since > self._settings.deletion_lease_s:
                    raise
                await asyncio.sleep(_OUTAGE_PAUSE_S)


async def remaining(db: Database) -> int:
    """How many are due and not yet deleted."""
    return await count(db, _DUE)
