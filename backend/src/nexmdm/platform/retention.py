"""What the platform forgets: events past their days, always the oldest of a zone, so that what stays has no gap."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from nexmdm.http.service import RetentionPolicy
from nexmdm.kernel.settings import Settings, narrow
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


async def remove_events(engine: AsyncEngine, cutoff: datetime, _now: datetime) -> tuple[int, bool]:
    """Events older than the cutoff, in short transactions."""
    deleted = 0
    while True:
        async with session_over_all_zones(engine) as connection:
            batch = (await connection.execute(_OLD_EVENTS, {"cutoff": cutoff, "batch": _BATCH})).rowcount
        deleted += batch
        if batch < _BATCH:
            return deleted, True


def _ago(settings: Settings, now: datetime) -> datetime:
    return now - timedelta(days=narrow(settings, PlatformSettings).retention_events_days)


POLICIES: Final = (RetentionPolicy("events", _ago, remove_events),)
