"""The scenarios of an arrival rate as data: how many devices, how fast, how long.

Sources: performance targets (100,000 devices at 120 s); seed 000 for the bucket of 10 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from load.measurements.run import Scenario


@dataclass(frozen=True)
class Percentile:
    """The latency that one kind of request has to keep."""

    kind: str
    q: float
    below_ms: float


@dataclass(frozen=True)
class ArrivalRate(Scenario):
    """What all of them have. cpu_share: of one core, from which on the generator itself may be what is slow.

    workload: what is sent, by its name in load/arrival_rate/catalogue.py.
    """

    per_s: float = 0.0
    workload: str = "heartbeats"
    latency: tuple[Percentile, ...] = (Percentile("heartbeat", 0.95, 50), Percentile("heartbeat", 0.99, 50))
    warm_up_per_s: float = 1500.0
    warm_up_at_once: int = 64  # unanswered first heartbeats: each costs the server a bcrypt, and more would only queue
    pause_s: float = 2.0  # between two legs
    bucket_s: float = 10.0
    lag_ms: float = 20.0  # less than half of the limit that it helps to judge
    cpu_share: float = 0.9

    def __post_init__(self) -> None:
        if not 1 <= self.devices <= 1_000_000:
            raise ValueError("devices: 1 to 1000000")
        if not self.per_s > 0:
            raise ValueError("rate: more than 0")
        if not self.duration_s > 0:
            raise ValueError("duration: more than 0")

    @property
    def legs(self) -> Sequence[tuple[float, float]]:
        """What is measured: the rates, one after the other, and how long each lasts, in seconds."""
        return ((self.per_s, self.duration_s),)

    @property
    def kinds(self) -> list[str]:
        """Those that are judged."""
        return list(dict.fromkeys(one.kind for one in self.latency))

    @property
    def interval_s(self) -> float:
        """Of a point of the course over time: a second, or ten in a run of more than ten minutes."""
        return 1.0 if self.duration_s <= 600 else 10.0

    @property
    def plan(self) -> str:
        return f"{self.devices} devices, {self.per_s:.0f} {self.workload}/s for {self.duration_s:g} s"


@dataclass(frozen=True)
class Capacity(ArrivalRate):
    """Stages of rising load, each of `duration_s`, until one is not held. per_s: that of the first stage."""

    most_per_s: float = 20_000.0
    p99_ms: float = 100.0
    error_rate: float = 0.01
    achieved: float = 0.98

    @property
    def plan(self) -> str:
        return (
            f"{self.devices} devices, stages of {self.duration_s:g} s from {self.per_s:g} {self.workload}/s to the knee"
        )

    def next_rate(self, per_s: float) -> float:
        """100, 500, 1,000, then 500 more, and from 2,000 on a quarter more, in steps of 100."""
        if per_s < 500:
            return 500.0
        return per_s + 500 if per_s < 2000 else round(per_s * 1.25 / 100) * 100.0


@dataclass(frozen=True)
class Soak(ArrivalRate):
    """A steady load for long, and what the backend's processes hold during it."""

    memory_growth: float = 0.10
    descriptors: int = 10

    @property
    def sample_every_s(self) -> float:
        """Five seconds, or less in a quick look."""
        return max(1.0, min(5.0, self.duration_s / 120))


FLEET_SCALE = ArrivalRate("fleet-scale", devices=100_000, per_s=100_000 / 120.0, duration_s=180.0)
CAPACITY = Capacity("capacity", devices=30_000, per_s=100.0, duration_s=10.0)
SOAK = Soak("soak", devices=20_000, per_s=300.0, duration_s=1800.0)
