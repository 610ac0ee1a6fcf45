"""What the broker forgets: allocations that ended long ago, runs of sync as old, ranks that have run out.

Sandboxes stay as tombstones.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text

from nexmdm.http.service import RetentionPolicy
from nexmdm.kernel.deletion import deletion
from nexmdm.kernel.settings import Settings, narrow
from nexmdm.sandboxes.settings import SandboxSettings

_OLD_ALLOCATIONS: Final = text(
    """
    DELETE FROM allocations WHERE allocation_id IN (
        SELECT allocation_id FROM allocations WHERE ended_at < :cutoff LIMIT :batch FOR UPDATE SKIP LOCKED)
    """
)
_OLD_SYNC_RUNS: Final = text(
    """
    DELETE FROM sync_runs WHERE run_id IN (
        SELECT run_id FROM sync_runs WHERE started_at < :cutoff LIMIT :batch FOR UPDATE SKIP LOCKED)
    """
)
_OLD_RANKS: Final = text(
    """
    DELETE FROM waiters WHERE track_id IN (
        SELECT track_id FROM waiters WHERE seen_at < clock_timestamp() - interval '60 s'
        LIMIT :batch FOR UPDATE SKIP LOCKED)
    """
)


def _ago(settings: Settings, now: datetime) -> datetime:
    return now - timedelta(days=narrow(settings, SandboxSettings).retention_allocations_days)


POLICIES: Final = (
    RetentionPolicy("allocations", _ago, deletion(_OLD_ALLOCATIONS)),
    RetentionPolicy("sync_runs", _ago, deletion(_OLD_SYNC_RUNS), logged=False),
    RetentionPolicy("waiters", lambda _settings, now: now, deletion(_OLD_RANKS), logged=False),
)
