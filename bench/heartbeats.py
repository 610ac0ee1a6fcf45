"""The heartbeats of one backend, as `--against` compares them: at what cost, how many a second, and how soon.

A turn is a crowd of heartbeats, or a single one: on a machine whose speed changes from one second to the next,
nothing longer compares. New processes serve each pair, so that the luck of a process (its hash seed, its place in
memory) is part of the spread.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from bench.capacity import next_period
from bench.cpu import Spent
from bench.pairs import Figure, Turns
from bench.rig import HEARTBEAT, Rig, refused
from bench.steady import prepared
from harness.open_loop.exchange import Exchange
from harness.open_loop.loop import OpenLoop
from harness.verdict.thresholds import percentile

DEVICES: Final = 2_000
_PERIODS: Final = 4  # of ten seconds: a device becomes a row once in each
_AT_ONCE: Final = 100  # below the slots of a service for tokens that it sees first
FIGURES: Final = (
    Figure(f"heartbeats per second, {_AT_ONCE} at once, one worker", "/s", higher_is_better=True),
    Figure(f"CPU per heartbeat, {_AT_ONCE} at once, backend", "us"),
    Figure(f"CPU per heartbeat, {_AT_ONCE} at once, PostgreSQL", "us"),
    Figure("CPU per heartbeat, one at a time, backend", "us"),
    Figure("heartbeat p50, one at a time", "ms"),
    Figure("heartbeat p95, one at a time", "ms"),
)


class Devices:
    """The fleet as its backend sees it, over kept connections. Use it as a context manager."""

    def __init__(self, base_url: str, tokens: Sequence[str]) -> None:
        self._loop = OpenLoop(base_url, connections=_AT_ONCE)
        self._requests = [prepared(base_url + HEARTBEAT, token) for token in tokens]
        self._ended: list[Exchange] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._loop.close()

    def beat(self, first: int, count: int, at_once: int) -> float:
        """Heartbeats of so many devices from the first on; seconds until all were answered. Refused: not with 200."""
        self._ended, begun = [], time.monotonic()
        self._loop.run((Exchange(begun, one) for one in self._requests[first : first + count]), self, window=at_once)
        for exchange in self._ended:
            if exchange.status != 200:
                raise refused(
                    f"the heartbeat of a seeded device {exchange.trouble}".rstrip(), exchange.status, exchange.body
                )
        return time.monotonic() - begun

    def released(self, exchange: Exchange) -> None:
        """Of the loop."""

    def ended(self, exchange: Exchange) -> float:
        self._ended.append(exchange)
        return 0.0


def _next_period() -> Turns[None]:
    """Wait for it when the other side is done with this one, too: both wait once, and are idle for as long."""
    heard_at = time.time()
    yield
    next_period(heard_at)


def in_turns(rig: Rig) -> Turns[Sequence[float]]:
    """One value per figure. Refused where a heartbeat gets another answer than 200."""
    with rig.backend() as backend, Devices(backend.base_url, rig.tokens[:DEVICES]) as devices:
        devices.beat(0, 1, 1)  # a backend that does not take the fleet's tokens says so at once
        devices.beat(0, DEVICES, _AT_ONCE)  # the first of a device costs its service a look at its hash
        beats, crowds_s = _PERIODS * DEVICES, 0.0
        cpu, postgres, single_cpu = Spent(backend.pid), Spent(rig.postgres_pid() or 0), Spent(backend.pid)
        for _ in range(_PERIODS):
            yield from _next_period()
            for first in range(0, DEVICES, _AT_ONCE):
                yield
                with cpu, postgres:
                    crowds_s += devices.beat(first, _AT_ONCE, _AT_ONCE)
        yield from _next_period()
        singles_s = list[float]()
        for number in range(DEVICES):
            yield
            with single_cpu:
                singles_s.append(devices.beat(number, 1, 1))
    return [
        beats / crowds_s,
        cpu.total_s / beats * 1e6,
        postgres.total_s / beats * 1e6,
        single_cpu.total_s / DEVICES * 1e6,
        percentile(singles_s, 0.5) * 1000,
        percentile(singles_s, 0.95) * 1000,
    ]
