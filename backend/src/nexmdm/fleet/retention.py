"""What the fleet keeps for how long: days of heartbeats, dispatches and their commands, download events.

A heartbeat lives through the whole UTC day on which its period ends, since days are dropped and never searched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from nexmdm.fleet.dispatch_states import UNSENT
from nexmdm.fleet.settings import FleetSettings
from nexmdm.http.service import RetentionPolicy
from nexmdm.kernel.columns import sql_list
from nexmdm.kernel.deletion import deletion
from nexmdm.kernel.settings import Settings, narrow

_DAYS_AHEAD: Final = 3  # a worker that was away for a long weekend has cost no heartbeat
_LOCK_TRIES: Final = 15  # of at most 3 s: a run ends within a minute (seed 002) whoever reads meanwhile
_LOCK_PAUSE_S: Final = 0.2
_LOCK_NOT_AVAILABLE: Final = "55P03"

_ENSURE_DAYS: Final = text("SELECT nexmdm_ensure_heartbeat_partitions(:first, :last)")
_DROP_DAYS: Final = text("SELECT coalesce(sum(row_estimate), 0)::bigint FROM nexmdm_drop_heartbeat_partitions(:before)")
_OLDEST_DAY: Final = text(
    r"""
    SELECT min(to_date(right(child.relname, 8), 'YYYYMMDD'))
    FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
    WHERE inhparent = 'device_heartbeats'::regclass AND child.relname ~ '^device_heartbeats_[0-9]{8}$'
    """
)
# A command that may still be sent is not history, whatever its age.
_OLD_DISPATCHES: Final = text(
    f"""
    DELETE FROM fcm_dispatches WHERE request_id IN (
        SELECT request_id FROM fcm_dispatches
        WHERE created_at < :cutoff AND (status NOT IN {sql_list(UNSENT)} OR expires_at < :now)
        ORDER BY created_at LIMIT :batch FOR UPDATE SKIP LOCKED)
    """  # noqa: S608 - composed of the constants above
)
_OLD_COMMANDS: Final = text(
    """
    DELETE FROM commands WHERE request_id IN (
        SELECT request_id FROM commands AS command
        WHERE created_at < :cutoff
            AND NOT EXISTS (SELECT FROM fcm_dispatches WHERE command_request_id = command.request_id)
        ORDER BY created_at LIMIT :batch FOR UPDATE SKIP LOCKED)
    """
)
_OLD_DOWNLOADS: Final = text(
    """
    DELETE FROM apk_download_events WHERE id IN (
        SELECT id FROM apk_download_events WHERE ts < :cutoff ORDER BY ts LIMIT :batch FOR UPDATE SKIP LOCKED)
    """
)


async def prepare(engine: AsyncEngine, now: datetime) -> None:
    """Make the partitions of the days to come."""
    today = now.astimezone(UTC).date()
    await _patiently(engine, _ENSURE_DAYS, first=today - timedelta(days=1), last=today + timedelta(days=_DAYS_AHEAD))


async def _drop_days(engine: AsyncEngine, cutoff: datetime, _now: datetime) -> tuple[int, bool]:
    """One transaction a day, so that heartbeats wait for one drop at most."""
    oldest_kept, deleted = cutoff.date(), 0
    while True:
        async with engine.begin() as connection:
            day: date | None = (await connection.execute(_OLDEST_DAY)).scalar()
        if day is None or day >= oldest_kept:
            return deleted, True
        dropped = await _patiently(engine, _DROP_DAYS, before=day + timedelta(days=1))
        if dropped is None:
            return deleted, False
        deleted += dropped


async def _patiently(engine: AsyncEngine, statement: TextClause, **parameters: Any) -> int | None:
    """The statement's number; None where somebody held the table all the while, and the next run has to do it."""
    for _ in range(_LOCK_TRIES):
        try:
            async with engine.begin() as connection:
                return int((await connection.execute(statement, parameters)).scalar_one())
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
        await asyncio.sleep(_LOCK_PAUSE_S)
    return None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _ago(days: Callable[[FleetSettings], int]) -> Callable[[Settings, datetime], datetime]:
    return lambda settings, now: now - timedelta(days=days(narrow(settings, FleetSettings)))


def _oldest_day(settings: Settings, now: datetime) -> datetime:
    days = narrow(settings, FleetSettings).retention_heartbeats_days
    return _midnight(now.astimezone(UTC).date() - timedelta(days=days))


_dispatches_ago: Final = _ago(lambda settings: settings.retention_dispatches_days)
_downloads_ago: Final = _ago(lambda settings: settings.retention_downloads_days)

POLICIES: Final = (
    RetentionPolicy("device_heartbeats", _oldest_day, _drop_days),
    RetentionPolicy("fcm_dispatches", _dispatches_ago, deletion(_OLD_DISPATCHES)),
    RetentionPolicy("apk_download_events", _downloads_ago, deletion(_OLD_DOWNLOADS)),
    # A command has no period of its own: it goes with its dispatches.
    RetentionPolicy("commands", _dispatches_ago, deletion(_OLD_COMMANDS), logged=False),
)
