"""What is kept for how long: drops days of heartbeats, deletes old dispatches, commands, download events, spent limits.

It decides no schedule: `nexmdm retention run` and the background process call it. A heartbeat lives through the whole
UTC day on which its period ends, since days are dropped and never searched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from nexmdm.jobs.events import RETENTION_CLEANUP
from nexmdm.kernel.database import Operation
from nexmdm.kernel.log import emit
from nexmdm.kernel.settings import Limit, Settings

_BATCH: Final = 1000  # rows: short transactions, so that nobody waits for a lock of ours
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
    """
    DELETE FROM fcm_dispatches WHERE request_id IN (
        SELECT request_id FROM fcm_dispatches
        WHERE created_at < :cutoff AND (status NOT IN ('queued', 'sending') OR expires_at < :now)
        ORDER BY created_at LIMIT :batch FOR UPDATE SKIP LOCKED)
    """
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
_SPENT_LIMITS: Final = text(
    """
    DELETE FROM rate_limits WHERE (rule, subject) IN (
        SELECT rule, subject FROM rate_limits WHERE window_start < :cutoff LIMIT :batch FOR UPDATE SKIP LOCKED)
    """
)


@dataclass(frozen=True, slots=True)
class Cleanup:
    """What one run removed of one table. For heartbeats `deleted` is an estimate where days are large."""

    entity: str
    cutoff: datetime
    deleted: int
    latency_ms: float
    complete: bool = True


async def run(engine: AsyncEngine, settings: Settings, now: datetime) -> list[Cleanup]:
    """Make the days to come, then remove what is past its period at `now` (in UTC). Safe beside another run."""
    today = now.astimezone(UTC).date()
    await _patiently(engine, _ENSURE_DAYS, first=today - timedelta(days=1), last=today + timedelta(days=_DAYS_AHEAD))
    oldest_day = today - timedelta(days=settings.retention_heartbeats_days)
    dispatches = now - timedelta(days=settings.retention_dispatches_days)
    downloads = now - timedelta(days=settings.retention_downloads_days)
    windows = [value.window_s for _, value in settings if isinstance(value, Limit)]
    limits = now - 2 * timedelta(seconds=max(windows))  # a window counts until the one after it has ended

    def deletion(statement: TextClause, cutoff: datetime, **more: Any) -> Callable[[], Awaitable[tuple[int, bool]]]:
        return lambda: _delete(engine, statement, cutoff=cutoff, **more)

    return [
        await _retire("device_heartbeats", _midnight(oldest_day), lambda: _drop_days(engine, oldest_day)),
        await _retire("fcm_dispatches", dispatches, deletion(_OLD_DISPATCHES, dispatches, now=now)),
        await _retire("apk_download_events", downloads, deletion(_OLD_DOWNLOADS, downloads)),
        # These have no period of their own: a command goes with its dispatches, a limit when it limits nothing more.
        await _clean("commands", dispatches, deletion(_OLD_COMMANDS, dispatches)),
        await _clean("rate_limits", limits, deletion(_SPENT_LIMITS, limits)),
    ]


async def _retire(entity: str, cutoff: datetime, work: Callable[[], Awaitable[tuple[int, bool]]]) -> Cleanup:
    """Clean a table that has a period of its own, and say so in the log."""
    result = await _clean(entity, cutoff, work)
    level = "info" if result.complete else "warning"
    fields = {"deleted": result.deleted, "latency_ms": result.latency_ms}
    emit(RETENTION_CLEANUP, level, entity=entity, cutoff=_text(cutoff), **fields)
    return result


async def _clean(entity: str, cutoff: datetime, work: Callable[[], Awaitable[tuple[int, bool]]]) -> Cleanup:
    with Operation("cleanup", entity, cutoff=_text(cutoff)) as operation:
        deleted, complete = await work()
        operation.keys["deleted"] = deleted
    return Cleanup(entity, cutoff, deleted, operation.latency_ms, complete)


async def _delete(engine: AsyncEngine, statement: TextClause, **parameters: Any) -> tuple[int, bool]:
    deleted = 0
    while True:
        async with engine.begin() as connection:
            batch = (await connection.execute(statement, {**parameters, "batch": _BATCH})).rowcount
        deleted += batch
        if batch < _BATCH:
            return deleted, True


async def _drop_days(engine: AsyncEngine, oldest_kept: date) -> tuple[int, bool]:
    """One transaction a day, so that heartbeats wait for one drop at most."""
    deleted = 0
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


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
