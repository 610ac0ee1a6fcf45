"""When the jobs of the broker run: each at its interval after its last end, which is stored; once over all processes.

A restart runs at once what fell due before it. The admin operations run the same jobs through `perform`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Final

from sqlalchemy import text

from nexmdm.http.service import Job as ServiceJob
from nexmdm.kernel.database import Database, report_outage
from nexmdm.kernel.events import DEPENDENCY_AWAY
from nexmdm.kernel.log import Origin, emit, origin
from nexmdm.kernel.settings import Settings, narrow
from nexmdm.sandboxes import expiry, leases, stale
from nexmdm.sandboxes.deletions import Cleanup
from nexmdm.sandboxes.events import JOB_FINISHED, JOB_STARTED
from nexmdm.sandboxes.job import Over, Report, commit
from nexmdm.sandboxes.provider import Provider
from nexmdm.sandboxes.settings import SandboxSettings
from nexmdm.sandboxes.sync import sync

_TICK_S: Final = 1.0
_FINISH_S: Final = 5.0  # what a run gets to end when the process is to end; the supervisor waits for 8 s

_IS_DRY: Final = text(
    "SELECT (SELECT sandbox_id FROM sandboxes WHERE status = 'available' ORDER BY pick_key LIMIT 1) IS NULL"
)


@dataclass(frozen=True, slots=True)
class Job:
    """A job by its name. `work` is given a provider where `calls_provider`, and rests where there is none."""

    name: str
    every_s: Callable[[SandboxSettings], float]
    work: Callable[[Database, Any, SandboxSettings, Over], Awaitable[Report]]
    calls_provider: bool = False
    looks_again: bool = False  # runs sooner where a deletion falls due sooner
    fills_the_pool: bool = False  # runs sooner while nothing is free


SYNC: Final = Job(
    "sync",
    lambda s: s.sync_every_s,
    lambda db, provider, s, _over: sync(db, provider, s),
    calls_provider=True,
    fills_the_pool=True,
)
CLEANUP: Final = Job(
    "cleanup",
    lambda s: s.cleanup_every_s,
    lambda db, provider, s, over: Cleanup(db, provider, s, over).run(),
    calls_provider=True,
    looks_again=True,
)
EXPIRY: Final = Job("expiry", lambda s: s.expiry_every_s, lambda db, _provider, _s, over: expiry.expire(db, over))
STALE: Final = Job(
    "stale", lambda s: s.stale_every_s, lambda db, _provider, s, over: stale.remove(db, s.stale_grace_hours, over)
)
_ALL: Final = (SYNC, CLEANUP, EXPIRY, STALE)


async def perform(job: Job, settings: SandboxSettings, work: Callable[[], Awaitable[Report]]) -> Report:
    """Do the work of a job, with a line before and after it."""
    interval_s, started = job.every_s(settings), perf_counter()
    emit(JOB_STARTED, job=job.name, interval_s=interval_s)
    report = await work()
    emit(
        JOB_FINISHED,
        "info" if report.outcome == "completed" else "warning",
        job=job.name,
        interval_s=interval_s,
        outcome=report.outcome,
        counts=report.counts,
        duration_ms=round((perf_counter() - started) * 1000, 3),
    )
    return report


async def run_if_due(job: Job, db: Database, provider: Provider | None, settings: SandboxSettings, stop: Over) -> None:
    """Run a job that is due, unless another process does."""
    every_s = await _interval_s(job, db, settings)
    if not await leases.is_due(db, job.name, every_s):
        return
    async with leases.held(db, job.name, every_s) as lease:
        if lease is None:
            return
        report = await perform(job, settings, lambda: job.work(db, provider, settings, lambda: lease.lost or stop()))
        if not stop():  # else it may have left something, and is due again
            await lease.finish(report.counts, looks_again=job.looks_again)


async def _interval_s(job: Job, db: Database, settings: SandboxSettings) -> float:
    """The job's own interval; while the pool is dry a job that can fill it runs sooner."""
    every_s, dry_s = job.every_s(settings), settings.dry_sync_every_s
    if job.fills_the_pool and every_s > dry_s and (await commit(db, _IS_DRY))[0][0]:
        return dry_s
    return every_s


async def _keep_running(job: Job, db: Database, settings: Settings, stop: asyncio.Event) -> None:
    mine = narrow(settings, SandboxSettings)
    async with AsyncExitStack() as stack:
        provider = None
        if job.calls_provider:
            if mine.provider_url is None:
                if job is SYNC:  # once is enough
                    emit(DEPENDENCY_AWAY, "warning", dependency="provider", error="not configured")
                return
            provider = await stack.enter_async_context(aclosing(Provider(mine)))
        while not stop.is_set():
            origin.set(Origin(name=f"worker:{job.name}"))
            try:
                await _until(stop, run_if_due(job, db, provider, mine, stop.is_set))
            except Exception as error:  # noqa: BLE001 - raised again unless it is an outage
                report_outage(error)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), min(_TICK_S, job.every_s(mine)))


async def _until(stop: asyncio.Event, work: Awaitable[None]) -> None:
    """Await the work; once `stop` is set it has some seconds left. A call that is cut off leaves a lease that ends."""
    task, stopping = asyncio.ensure_future(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=_FINISH_S)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    finally:
        stopping.cancel()
        task.cancel()
    if not task.cancelled():
        task.result()


JOBS: Final[dict[str, ServiceJob]] = {f"sandboxes_{job.name}": partial(_keep_running, job) for job in _ALL}
