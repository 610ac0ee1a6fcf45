"""How many sandboxes are in each state: one count per process and period, shared by all who ask in it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final

from sqlalchemy import text

from nexmdm.kernel.database import Database
from nexmdm.sandboxes.types import STATUSES, SandboxStatus

_MOST_SHARE: Final = 0.01  # of the time that counting may take: 400,000 sandboxes and their allocations take 0.1 s

# One snapshot: the sandboxes of all labs are as many as are allocated.
_COUNT: Final = text(
    """
    SELECT now() AS as_of, status, NULL AS track_name, count(*) AS sandboxes FROM sandboxes GROUP BY status
    UNION ALL
    (SELECT now(), 'live', track_name, count(*) AS live FROM allocations WHERE ended_at IS NULL GROUP BY track_name
        ORDER BY live DESC, track_name LIMIT 1000)
    UNION ALL
    SELECT now(), 'as_of', NULL, 0
    """
)


def interval_s(took_s: float, every_s: float) -> float:
    """How long after its begin a look is repeated: a dear one less often, but never after ten times the usual."""
    return max(every_s, min(took_s / _MOST_SHARE, 10 * every_s))


@dataclass(frozen=True, slots=True)
class Counts:
    """The pool at one moment of the database's clock.

    `by_track_name`: live allocations of the 1,000 largest labs; of no lab under None.
    """

    as_of: datetime
    by_status: Mapping[SandboxStatus, int]
    by_track_name: Mapping[str | None, int]


class PoolCounts:
    """One per process, so that a crowd of dashboards shares one count, and a large pool is counted less often."""

    def __init__(self, db: Database, every_s: float) -> None:
        self._db, self._every_s = db, every_s
        self._turn = asyncio.Lock()
        self._began = float("-inf")
        self._took_s = 0.0
        self._count: asyncio.Task[Counts] | None = None

    async def read(self) -> Counts:
        """Counts that were begun at most `every_s` before this call, and what went wrong with them.

        One that took more than 1 % of that is good for up to ten times as long. `as_of` tells its moment.
        """
        asked = monotonic()
        async with self._turn:
            good_for_s = interval_s(self._took_s, self._every_s)
            if self._count is None or self._began < asked - good_for_s:
                self._began = monotonic()
                self._count = asyncio.create_task(self._read())
                await asyncio.wait([self._count])  # a caller that leaves ends no count that others share
                lost = self._count.cancelled() or self._count.exception() is not None
                self._took_s = 0.0 if lost else monotonic() - self._began
            count = self._count
        return await asyncio.shield(count)

    async def _read(self) -> Counts:
        rows = await self._db.run(_COUNT)
        counted = {row.status: row.sandboxes for row in rows}
        return Counts(
            as_of=rows[-1].as_of,
            by_status={status: counted.get(status, 0) for status in STATUSES},
            by_track_name={row.track_name: row.sandboxes for row in rows if row.status == "live"},
        )
