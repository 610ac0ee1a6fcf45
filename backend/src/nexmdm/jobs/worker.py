"""The worker process: the jobs of the services and the retention schedule, side by side, until a signal.

A job that fails is logged, counted and begun again with backoff; the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import text

from nexmdm.http.service import Service
from nexmdm.jobs import metrics, retention
from nexmdm.jobs.events import JOB_FAIL
from nexmdm.kernel.database import Database, report_outage
from nexmdm.kernel.log import Origin, emit, origin
from nexmdm.kernel.settings import Settings

_TICK_S: Final = 30.0
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0

# Of several schedulers the row's lock lets one see the job as due.
_DUE: Final = text(
    """
    INSERT INTO scheduled_jobs AS j (name, last_run_at) VALUES ('retention', now())
    ON CONFLICT (name) DO UPDATE SET last_run_at = now()
    WHERE j.last_run_at IS NULL OR j.last_run_at <= now() - make_interval(secs => :every_s)
    RETURNING name
    """
)


async def _schedule(db: Database, settings: Settings, services: Sequence[Service], stop: asyncio.Event) -> None:
    while not stop.is_set():
        origin.set(Origin(name="worker:schedule"))
        try:
            if await db.run(_DUE, {"every_s": settings.retention_every_s}):
                origin.set(Origin(name="worker:retention"))
                await retention.run(db.engine, settings, services, datetime.now(UTC))
        except Exception as error:  # noqa: BLE001 - raised again unless it is an outage
            report_outage(error)
        try:
            await asyncio.wait_for(stop.wait(), min(_TICK_S, settings.retention_every_s))
        except TimeoutError:
            continue


async def _keep(name: str, job: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Run a job until it ends; after a failure begin it again, later each time until it has lasted."""
    pause_s = _FIRST_PAUSE_S
    while not stop.is_set():
        began = asyncio.get_running_loop().time()
        try:
            await job()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's alone
            if asyncio.get_running_loop().time() - began > _LONGEST_PAUSE_S:
                pause_s = _FIRST_PAUSE_S
            metrics.job_failures.labels(name).inc()
            emit(JOB_FAIL, "error", job=name, error=type(error).__name__, retry_in_s=pause_s)
        else:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


async def run(settings: Settings, services: Sequence[Service], on_stop: Callable[[Callable[[], None]], Any]) -> None:
    """Run the jobs of the services until `on_stop`'s callback is called; then finish what has begun."""
    stop = asyncio.Event()
    on_stop(stop.set)
    db = Database(settings)
    async with aclosing(db), asyncio.TaskGroup() as tasks:
        tasks.create_task(_keep("scheduler", partial(_schedule, db, settings, services, stop), stop))
        for name, job in ((name, job) for service in services for name, job in service.jobs.items()):
            tasks.create_task(_keep(name, partial(job, db, settings, stop), stop))
