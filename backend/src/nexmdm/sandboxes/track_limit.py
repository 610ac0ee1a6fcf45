"""The rate limit of a track: hits that a process sees alone are counted in memory, the rest in the shared row.

A row committed for each request would double the writes of an allocation and break an exhausted pool. So 400 requests
at once through two processes give between 200 and 220 answers that are no 429.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from nexmdm.kernel import rate_limits
from nexmdm.kernel.database import Database
from nexmdm.kernel.settings import Limit

RULE: Final = "track"
_ALONE: Final = 10  # hits of a track in a second that cost no statement


class TrackLimit:
    """One per process."""

    def __init__(self, db: Database, limit: Limit) -> None:
        self._db, self._limit = db, limit
        self._second, self._hits = 0, dict[str, int]()

    def alone(self, track_id: str) -> bool:
        """Count a hit; True where it is among the first of its second, and nobody else need be asked."""
        second = int(monotonic())
        if second != self._second:
            self._second, self._hits = second, {}
        hits = self._hits[track_id] = self._hits.get(track_id, 0) + 1
        return hits <= min(_ALONE, self._limit.hits)

    def take_back(self, track_id: str) -> None:
        """Uncount a hit of somebody who turned out not to be let in."""
        if hits := self._hits.get(track_id):
            self._hits[track_id] = hits - 1

    async def shared(self, track_id: str) -> None:
        """Count a hit in the row that all processes share.

        Raises:
            Problem: `rate_limited` with Retry-After.
        """
        await rate_limits.hit(self._db, RULE, track_id, self._limit)

    def headers(self, track_id: str) -> dict[str, str]:
        """X-RateLimit-Limit, and X-RateLimit-Remaining as far as this process knows."""
        left = max(0, self._limit.hits - self._hits.get(track_id, 0))
        return {"X-RateLimit-Limit": str(self._limit.hits), "X-RateLimit-Remaining": str(left)}
