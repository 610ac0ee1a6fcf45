"""Detects sustained lag of the event loop.

Requests that nobody has read queue in the kernel's socket buffers, where only the length of a turn of the loop shows
them. A burst is worked off, however long its turn. When turns stay long, a turn admits only what begins in its first
moments (`is_over_budget`), so that the next turn comes soon. While nobody asks nothing is measured: a hundred ticks a
second are 2 % of a slow core.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final

TICK_S: Final = 0.01
LATE_S: Final = 0.03  # a turn that ends so long after its tick was due is a long one
STANDING_S: Final = 0.2  # long turns for this long are no burst
CALM_S: Final = 1.0  # after the last refusal, and after the last request
SHARE_S: Final = 0.02  # of a turn in which requests are admitted while we are behind
LEAST: Final = 64  # requests that every turn admits: a slow machine is no crowd


class EventLoopLag:
    """How long the turns of one event loop take. Times are seconds of any one clock."""

    def __init__(self, now: float) -> None:
        self._began = self._due = now
        self._refused_at = self._asked_at = now - CALM_S
        self._late_since: float | None = None
        self._behind = False
        self._admitted = 0
        self._wake: Callable[[], None] | None = None

    def tick(self, now: float) -> None:
        """A turn begins."""
        if now - self._due < LATE_S and now - self._refused_at >= CALM_S:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        self._behind = self._late_since is not None and now - self._late_since > STANDING_S
        if self._admitted:
            self._asked_at = now
        self._began, self._due, self._admitted = now, now + TICK_S, 0

    def is_over_budget(self, now: float) -> bool:
        """Whether one more request of this turn is one too many. To be asked once for each."""
        self._admitted += 1
        if self._wake is not None:
            self._wake()
            self._wake = None
        if not self._behind or self._admitted <= LEAST or now - self._began < SHARE_S:
            return False
        self._refused_at = now
        return True

    def is_idle(self, now: float) -> bool:
        """Whether turns are short, and nobody has asked for a while."""
        return self._late_since is None and now - self._asked_at > CALM_S

    async def rest(self, clock: Callable[[], float]) -> None:
        """Wait for the next request, and begin with a turn that has no tick to be late for."""
        woken = asyncio.Event()
        self._wake = woken.set
        await woken.wait()
        self._began = self._due = self._asked_at = clock()


@contextmanager
def measured() -> Iterator[EventLoopLag]:
    """The lag of the running event loop, by `perf_counter`."""
    lag = EventLoopLag(perf_counter())

    async def tick() -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = perf_counter()
            lag.tick(now)
            if lag.is_idle(now):
                await lag.rest(perf_counter)

    ticking = asyncio.create_task(tick(), name="event-loop-lag")
    try:
        yield lag
    finally:
        ticking.cancel()
