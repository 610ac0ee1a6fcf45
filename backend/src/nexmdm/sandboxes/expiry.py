"""The sweep of allocations whose grace is over: each ends as expired, and its sandbox waits for its deletion."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from nexmdm.kernel.database import Database
from nexmdm.kernel.log import emit
from nexmdm.sandboxes import metrics
from nexmdm.sandboxes.events import EXPIRED
from nexmdm.sandboxes.job import BATCH, Over, Report, commit, count

# What somebody else holds is being released, extended or revoked: the next run looks at it again. A row that was
# extended before its lock was had is judged again by PostgreSQL, in its newest version.
_EXPIRE: Final = text(
    """
    WITH due AS (
        SELECT allocation_id FROM allocations
        WHERE ended_at IS NULL AND now() > grace_until
        ORDER BY grace_until LIMIT :batch FOR UPDATE SKIP LOCKED
    ), ended AS (
        UPDATE allocations AS a SET ended_at = date_trunc('second', clock_timestamp()), end_reason = 'expired'
        FROM due WHERE a.allocation_id = due.allocation_id AND a.ended_at IS NULL
        RETURNING a.sandbox_id, a.track_id, a.track_name
    )
    UPDATE sandboxes AS s
    SET status = 'pending_deletion', status_since = clock_timestamp(), next_attempt_at = clock_timestamp()
    FROM ended WHERE s.sandbox_id = ended.sandbox_id AND s.status = 'allocated'
    RETURNING ended.sandbox_id, ended.track_id, ended.track_name
    """
)
_OVERDUE: Final = text("SELECT count(*) FROM allocations WHERE ended_at IS NULL AND now() > grace_until")


async def expire(db: Database, over: Over) -> Report:
    """End what is past its grace, in batches, until nothing is left or `over()`."""
    expired = 0
    while not over():
        ended = await commit(db, _EXPIRE, batch=BATCH)
        if not ended:
            break
        expired += len(ended)
        metrics.expired.inc(len(ended))
        for row in ended:
            emit(EXPIRED, sandbox_id=row.sandbox_id, track_id=row.track_id, track_name=row.track_name)
    return Report({"expired": expired})


async def remaining(db: Database) -> int:
    """How many are past their grace and not yet ended."""
    return await count(db, _OVERDUE)
