"""What the platform forgets: tasks, runs and conflicts that are over, and events.

Of a zone's events the oldest go first: what stays has no gap.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine

from nexmdm.http.service import RetentionPolicy
from nexmdm.kernel.settings import narrow
from nexmdm.platform.background import session_over_all_zones
from nexmdm.platform.settings import PlatformSettings

_BATCH: Final = 1000
# The times of a zone's events never go back.
_OLD_EVENTS: Final = text(
    """
    DELETE FROM events WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM events WHERE occurred_at < :cutoff
        ORDER BY occurred_at, zone_id, sequence_number LIMIT :batch))
    """
)


_OLD_TASKS: Final = text(
    """
    DELETE FROM tasks WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM tasks WHERE completed_at < :cutoff ORDER BY completed_at LIMIT :batch))
    """
)


_OLD_RUNS: Final = text(
    """
    DELETE FROM mount_runs WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM mount_runs WHERE finished_at < :cutoff ORDER BY finished_at LIMIT :batch))
    """
)
_OLD_CONFLICTS: Final = text(
    """
    DELETE FROM mount_conflicts WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM mount_conflicts WHERE resolved_at < :cutoff ORDER BY resolved_at LIMIT :batch))
    """
)


async def remove_events(engine: AsyncEngine, cutoff: datetime, _now: datetime) -> tuple[int, bool]:
    """Events older than the cutoff, in short transactions."""
    return await _remove(engine, _OLD_EVENTS, cutoff)


async def remove_tasks(engine: AsyncEngine, cutoff: datetime, _now: datetime) -> tuple[int, bool]:
    """Tasks that were over before the cutoff, with their attempts and their idempotency keys."""
    return await _remove(engine, _OLD_TASKS, cutoff)


async def remove_sync(engine: AsyncEngine, cutoff: datetime, _now: datetime) -> tuple[int, bool]:
    """Runs and resolved conflicts that were over before the cutoff."""
    runs, _ = await _remove(engine, _OLD_RUNS, cutoff)
    conflicts, _ = await _remove(engine, _OLD_CONFLICTS, cutoff)
    return runs + conflicts, True


async def _remove(engine: AsyncEngine, statement: TextClause, cutoff: datetime) -> tuple[int, bool]:
    deleted = 0
    while True:
        async with session_over_all_zones(engine) as connection:
            batch = (await connection.execute(statement, {"cutoff": cutoff, "batch": _BATCH})).rowcount
        deleted += batch
        if batch < _BATCH:
            return deleted, True


POLICIES: Final = (
    RetentionPolicy(
        "events",
        lambda settings, now: now - timedelta(days=narrow(settings, PlatformSettings).retention_events_days),
        remove_events,
    ),
    RetentionPolicy(
        "tasks",
        lambda settings, now: now - timedelta(days=narrow(settings, PlatformSettings).retention_tasks_days),
        remove_tasks,
    ),
    RetentionPolicy(
        "sync",
        lambda settings, now: now - timedelta(days=narrow(settings, PlatformSettings).retention_sync_days),
        remove_sync,
    ),
)
