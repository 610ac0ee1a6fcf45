"""The rows of `job_runs`: when each job ran last, and who runs it now. One holder at a time, over all processes.

A holder that dies leaves a lease that soon runs out; one that lives renews it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import UUID, uuid4

import orjson
from sqlalchemy import text

from nexmdm.kernel.database import OUTAGES, Database
from nexmdm.sandboxes.job import commit

LEASE_S: Final = 15.0
_RENEW_S: Final = 4.0

_IS_DUE: Final = text(
    """
    SELECT
        (j.lease_until IS NULL OR j.lease_until <= now())
        AND (j.finished_at IS NULL OR j.finished_at + make_interval(secs => :every_s) <= now()
            OR coalesce(j.look_again_at <= now(), false))
    FROM (SELECT) AS one LEFT JOIN job_runs AS j ON j.job = :job
    """
)
# As in `_IS_DUE`, but it decides: of several only one writes its lease.
_TAKE: Final = text(
    """
    INSERT INTO job_runs AS j (job, lease_id, lease_until)
    VALUES (:job, :lease_id, clock_timestamp() + make_interval(secs => :lease_s))
    ON CONFLICT (job) DO UPDATE SET lease_id = excluded.lease_id, lease_until = excluded.lease_until
    WHERE (j.lease_until IS NULL OR j.lease_until <= clock_timestamp())
        AND (CAST(:every_s AS float) IS NULL OR j.finished_at IS NULL
            OR j.finished_at + make_interval(secs => :every_s) <= clock_timestamp()
            OR j.look_again_at <= clock_timestamp())
    RETURNING j.job
    """
)
_RENEW: Final = text(
    """
    UPDATE job_runs SET lease_until = clock_timestamp() + make_interval(secs => :lease_s)
    WHERE job = :job AND lease_id = :lease_id RETURNING job
    """
)
_FINISH: Final = text(
    """
    UPDATE job_runs SET finished_at = clock_timestamp(), counts = CAST(:counts AS jsonb), lease_id = NULL,
        lease_until = NULL, look_again_at = CASE WHEN :looks_again THEN (
            SELECT greatest(min(waiting.until), (
                SELECT greatest(open_until, paused_until) FROM breaker WHERE name = 'provider'
            )) FROM (
                SELECT next_attempt_at AS until FROM sandboxes WHERE status = 'pending_deletion'
                UNION ALL SELECT lease_until FROM sandboxes WHERE status = 'deleting'
            ) AS waiting HAVING min(waiting.until) IS NOT NULL
        ) END
    WHERE job = :job AND lease_id = :lease_id RETURNING job
    """
)
_GIVE_UP: Final = text(
    "UPDATE job_runs SET lease_id = NULL, lease_until = NULL WHERE job = :job AND lease_id = :lease_id RETURNING job"
)


class Lease:
    """A job that is ours. `lost`: another has taken it since, as we stood still for too long."""

    def __init__(self, db: Database, job: str) -> None:
        self._db, self._job = db, job
        self._lease_id: UUID = uuid4()
        self._finished = False
        self.lost = False

    async def take(self, every_s: float | None) -> bool:
        """Whether it is ours now. `every_s`: only where the last run finished that long ago."""
        rows = await commit(self._db, _TAKE, job=self._job, lease_id=self._lease_id, lease_s=LEASE_S, every_s=every_s)
        return bool(rows)

    async def finish(self, counts: Mapping[str, int], *, looks_again: bool) -> None:
        """Store the end of the run. `looks_again`: the next is due when the next deletion is, if that is sooner."""
        named = {"job": self._job, "lease_id": self._lease_id}
        encoded = orjson.dumps(dict(counts)).decode()
        await commit(self._db, _FINISH, counts=encoded, looks_again=looks_again, **named)
        self._finished = True

    async def keep(self) -> None:
        """Renew it until this is cancelled, or it is lost. An outage is waited out: nobody else can take it then."""
        while not self.lost:
            await asyncio.sleep(_RENEW_S)
            with suppress(*OUTAGES):
                rows = await commit(self._db, _RENEW, job=self._job, lease_id=self._lease_id, lease_s=LEASE_S)
                self.lost = not rows

    async def give_up(self) -> None:
        """Let the next run begin at once, unless this one has finished."""
        if not self._finished:
            with suppress(*OUTAGES):
                await commit(self._db, _GIVE_UP, job=self._job, lease_id=self._lease_id)


async def is_due(db: Database, job: str, every_s: float) -> bool:
    """Whether the job should run: asked each second, so it writes nothing."""
    return bool((await commit(db, _IS_DUE, job=job, every_s=every_s))[0][0])


@asynccontextmanager
async def held(db: Database, job: str, every_s: float | None) -> AsyncIterator[Lease | None]:
    """The lease while the job runs; None where another has it, or, with `every_s`, the job is not due."""
    lease = Lease(db, job)
    if not await lease.take(every_s):
        yield None
        return
    keeper = asyncio.create_task(lease.keep(), name=f"lease-{job}")
    try:
        yield lease
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        await lease.give_up()
