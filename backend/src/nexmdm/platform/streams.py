"""How many event streams a process serves at once, and how many of them for one zone."""

from __future__ import annotations

from collections import Counter
from typing import Final

from nexmdm.kernel.load_shedding import reject_overloaded
from nexmdm.platform import metrics

QUEUE: Final = "streams"


class Streams:
    """`Streams(most)`. Half of them is the most that one zone may have: the others find a place."""

    def __init__(self, most: int) -> None:
        self._most, self._open = most, Counter[str]()

    def enter(self, zone_id: str) -> None:
        """Problem: `overloaded`, where there are too many."""
        if self._open.total() >= self._most or self._open[zone_id] >= -(-self._most // 2):
            raise reject_overloaded(QUEUE)
        self._open[zone_id] += 1
        metrics.streams.inc()

    def leave(self, zone_id: str) -> None:
        self._open -= Counter([zone_id])
        metrics.streams.dec()
