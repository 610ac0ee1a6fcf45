"""Whether this process keeps up, told by how long one turn of its event loop takes. It refuses nothing itself.

A queue that we hold can be counted. What nobody has read yet waits in the sockets, and shows in nothing but the time
that one turn over all of them takes. A burst is worked off, however long its turn; when turns stay long, whoever asks
`is_behind` is told to admit no more than begins within the first moments of each turn, so that the next comes soon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final

TICK_S: Final = 0.01
LATE_S: Final = 0.03  # a turn that ends so long after its tick was due is a long one
STANDING_S: Final = 0.2  # long turns for this long are no burst
CALM_S: Final = 1.0  # after the last refusal
SHARE_S: Final = 0.02  # of a turn in which requests are admitted while we are behind
LEAST: Final = 64  # requests that every turn admits: a slow machine is no crowd


class Pace:
    """Told of each turn, it tells for each request. Times are seconds of any one clock."""

    def __init__(self, now: float) -> None:
        self._began = self._due = now
        self._refused_at = now - CALM_S
        self._late_since: float | None = None
        self._behind = False
        self._admitted = 0

    def turn(self, now: float) -> None:
        """A turn begins."""
        if now - self._due < LATE_S and now - self._refused_at >= CALM_S:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        self._behind = self._late_since is not None and now - self._late_since > STANDING_S
        self._began, self._due, self._admitted = now, now + TICK_S, 0

    def is_behind(self, now: float) -> bool:
        """Whether one more request of this turn is one too many. To be asked once for each."""
        self._admitted += 1
        if not self._behind or self._admitted <= LEAST or now - self._began < SHARE_S:
            return False
        self._refused_at = now
        return True


@contextmanager
def kept() -> Iterator[Pace]:
    """The pace of the running event loop, by `perf_counter`."""
    pace = Pace(perf_counter())

    async def tick() -> None:
        while True:
            await asyncio.sleep(TICK_S)
            pace.turn(perf_counter())

    ticking = asyncio.create_task(tick(), name="pace")
    try:
        yield pace
    finally:
        ticking.cancel()
