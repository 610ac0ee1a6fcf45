"""Rows that leave the pool without a call to the provider: stale ones, and failed deletions that an admin gives up.

A stale sandbox was never allocated, so its row goes. One that was allocated stays as a tombstone.
"""

from __future__ import annotations

from typing import Final, Literal

from sqlalchemy import TextClause, text

from nexmdm.kernel.database import Database
from nexmdm.sandboxes.job import BATCH, Over, Report, commit, count

BulkStatus = Literal["stale", "deletion_failed"]

_REMOVE_STALE: Final = text(
    """
    DELETE FROM sandboxes WHERE sandbox_id IN (
        SELECT sandbox_id FROM sandboxes
        WHERE status = 'stale' AND status_since <= now() - make_interval(hours => :hours)
        ORDER BY sandbox_id LIMIT :batch FOR UPDATE SKIP LOCKED)
    RETURNING sandbox_id
    """
)
_STALE: Final = text(
    "SELECT count(*) FROM sandboxes WHERE status = 'stale' AND status_since <= now() - make_interval(hours => :hours)"
)
_BURY_FAILED: Final = text(
    """
    UPDATE sandboxes
    SET status = 'deleted', status_since = clock_timestamp(), deleted_at = clock_timestamp()
    WHERE sandbox_id IN (
        SELECT sandbox_id FROM sandboxes WHERE status = 'deletion_failed'
        ORDER BY sandbox_id LIMIT :batch FOR UPDATE SKIP LOCKED)
    RETURNING sandbox_id
    """
)
_FAILED: Final = text("SELECT count(*) FROM sandboxes WHERE status = 'deletion_failed'")


async def remove(db: Database, grace_hours: int, over: Over) -> Report:
    """Remove what has been stale for `grace_hours`."""
    return await _in_batches(db, _REMOVE_STALE, over, hours=grace_hours)


async def bulk_delete(db: Database, status: BulkStatus, over: Over) -> Report:
    """Remove all stale rows, or make tombstones of all failed deletions."""
    return await (remove(db, 0, over) if status == "stale" else _in_batches(db, _BURY_FAILED, over))


async def remaining(db: Database, status: BulkStatus, grace_hours: int = 0) -> int:
    """How many such rows there are still."""
    if status == "stale":
        return await count(db, _STALE, hours=grace_hours)
    return await count(db, _FAILED)


async def _in_batches(db: Database, statement: TextClause, over: Over, **parameters: int) -> Report:
    deleted = 0
    while not over():
        gone = len(await commit(db, statement, batch=BATCH, **parameters))
        deleted += gone
        if gone == 0:
            break
    return Report({"deleted": deleted})
