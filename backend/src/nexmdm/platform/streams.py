"""How many event streams a process serves at once."""

from __future__ import annotations

from typing import Final

from nexmdm.kernel.load_shedding import reject_overloaded
from nexmdm.platform import metrics

QUEUE: Final = "streams"


class Streams:
    """`Streams(most)`."""

    def __init__(self, most: int) -> None:
        self._most, self._open = most, 0

    def enter(self) -> None:
        """Problem: `overloaded`, where there are too many."""
        if self._open >= self._most:
            raise reject_overloaded(QUEUE)
        self._open += 1
        metrics.streams.inc()

    def leave(self) -> None:
        self._open -= 1
        metrics.streams.dec()
