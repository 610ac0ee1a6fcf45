"""Requests as fast as they are answered, so many at once: a closed loop over kept connections. It judges nothing."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from harness.open_loop.exchange import Exchange
from harness.open_loop.loop import OpenLoop

AT_ONCE: Final = 32


class Rush:
    """answers: how often there was which outcome in the present round."""

    def __init__(
        self, base_url: str, request: Callable[[int], bytes], outcome: Callable[[Exchange], str], wanted: str
    ) -> None:
        """request: that of a number, from 0 on over all rounds; outcome: of an answer; wanted: the good one."""
        self._loop = OpenLoop(base_url, connections=AT_ONCE)
        self._request, self._outcome, self._wanted = request, outcome, wanted
        self._numbers = itertools.count()
        self.answers: Counter[str] = Counter()

    def round(self, duration_s: float) -> float:
        """Wanted answers a second."""
        self.answers, begun = Counter(), time.monotonic()
        self._loop.run(self._requests(begun, begun + duration_s), self, window=AT_ONCE)
        return self.answers[self._wanted] / (time.monotonic() - begun)

    def _requests(self, due: float, until: float) -> Iterator[Exchange]:
        while time.monotonic() < until:
            yield Exchange(due, self._request(next(self._numbers)))

    def released(self, exchange: Exchange) -> None:
        """Of the loop."""

    def ended(self, exchange: Exchange) -> float:
        self.answers[self._outcome(exchange)] += 1
        return 0.0

    def close(self) -> None:
        """Close the connections."""
        self._loop.close()
