"""When which device of a fleet sends, decided before the first request. Pure; it never waits.

Requests come at a constant rate, device after device: device i of N, at a cadence of N / rate, is intended at
start + (i + jitter of i) / N * cadence + k * cadence. A process of several takes the devices i with
i % processes == index, so that all of them together send exactly the plan of one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

from load.workloads.arrival_rate import Phase

MEASURED, WARM_UP = "measured", "warm-up"


class Arrival(NamedTuple):
    """One request: its number in the leg, its device's number, and when (server time, seconds since the epoch)."""

    number: int
    device: int
    at: float


def jitters(devices: int, seed: int) -> list[float]:
    """Of each device, in [0, 1): the part of a step by which it is later than the even grid."""
    rng = random.Random(seed)
    return [rng.random() for _ in range(devices)]


@dataclass(frozen=True)
class Leg:
    """A stretch of one load: `requests` at `per_s`, beginning with the device `first`.

    start: server time, seconds since the epoch. to_per_s: the rate at its end, where that is another. at_once: so many
    may be unanswered, then the leg waits; 0: it never waits. Only a warm-up may wait: its lateness is of no interest.
    """

    kind: str
    start: float
    per_s: float
    requests: int
    first: int = 0
    at_once: int = 0
    to_per_s: float | None = None

    @property
    def duration_s(self) -> float:
        return self.requests / Phase(self.per_s, 0, self.to_per_s).mean_per_s

    @property
    def end(self) -> float:
        return self.start + self.duration_s

    def plan(self, jitter: Sequence[float], index: int = 0, processes: int = 1) -> Iterator[Arrival]:
        """The requests of one process of several, in order of time; one jitter for each device of the fleet."""
        devices, after_s = len(jitter), self._timetable()
        for number in range(self.requests):
            device = (self.first + number) % devices
            if device % processes == index:
                yield Arrival(number, device, self.start + after_s(number + jitter[device]))

    def _timetable(self) -> Callable[[float], float]:
        """When so many are due, seconds after the start."""
        begins, ends = self.per_s, self.per_s if self.to_per_s is None else self.to_per_s
        if begins == ends:
            return lambda requests: requests / begins
        growth = (ends - begins) / self.duration_s
        # Of the last one the square may be below 0 by a rounding error.
        return lambda requests: (math.sqrt(max(0.0, begins**2 + 2 * growth * requests)) - begins) / growth

    def share(self, devices: int, index: int, processes: int) -> int:
        """How many requests of the plan are this process's."""
        whole, rest = divmod(self.requests, devices)
        own = len(range(index, devices, processes))
        return whole * own + sum((self.first + number) % devices % processes == index for number in range(rest))

    def to_dict(self) -> dict[str, Any]:
        """For a message between processes."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Self:
        return cls(**document)
