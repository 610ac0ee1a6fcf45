"""What the background process measures of the pool, for the metrics: a scrape asks no database."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import perf_counter
from typing import Final

from sqlalchemy import text

from nexmdm.kernel.database import Database, report_outage
from nexmdm.kernel.log import Origin, origin
from nexmdm.kernel.settings import Settings
from nexmdm.sandboxes import metrics
from nexmdm.sandboxes.counts import interval_s
from nexmdm.sandboxes.job import commit
from nexmdm.sandboxes.types import STATUSES

_TICK_S: Final = 1.0

_POOL: Final = text("SELECT status, count(*) AS sandboxes FROM sandboxes GROUP BY status")
# A row's status_since is that of its last attempt; the ledger knows when its deletion was asked for.
_REST: Final = text(
    """
    SELECT
        (SELECT coalesce(extract(epoch FROM now() - min(coalesce(a.ended_at, s.status_since))), 0)
            FROM sandboxes AS s LEFT JOIN allocations AS a ON a.sandbox_id = s.sandbox_id
            WHERE s.status IN ('pending_deletion', 'deleting'))::float AS oldest_s,
        (SELECT coalesce(extract(epoch FROM now() - coalesce(
            max(finished_at) FILTER (WHERE outcome = 'completed'), min(started_at))), 0) FROM sync_runs
        )::float AS last_good_sync_s,
        coalesce((SELECT still_listed FROM sync_runs WHERE outcome = 'completed' ORDER BY started_at DESC LIMIT 1), 0)
            AS still_listed,
        EXISTS (SELECT FROM breaker WHERE open_until IS NOT NULL) AS breaker_open
    """
)


async def measure(db: Database) -> None:
    """Set every gauge of the pool."""
    sizes = {row.status: row.sandboxes for row in await commit(db, _POOL)}
    for status in STATUSES:
        metrics.pool.labels(status).set(sizes.get(status, 0))
    row = (await commit(db, _REST))[0]
    metrics.oldest_pending_deletion.set(max(0.0, row.oldest_s))
    metrics.last_good_sync.set(max(0.0, row.last_good_sync_s))
    metrics.still_listed.set(row.still_listed)
    metrics.breaker_open.set(row.breaker_open)


async def keep_measuring(db: Database, _settings: Settings, stop: asyncio.Event) -> None:
    """Measure each second, or as often as costs little, but every ten seconds at least, until `stop`.

    An outage leaves what was measured last.
    """
    origin.set(Origin(name="worker:pool"))
    while not stop.is_set():
        started = perf_counter()
        try:
            await measure(db)
        except Exception as error:  # noqa: BLE001 - raised again unless it is an outage
            report_outage(error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), interval_s(perf_counter() - started, _TICK_S))
