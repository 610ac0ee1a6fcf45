"""The scenarios of open arrivals as data: how many, how fast, how long, and which limits hold. It runs nothing.

Sources: performance targets (100,000 devices at 120 s on two cores shared with the generator: p99 < 50 ms, no error);
seed 000 for the bucket of 10 s. Percentiles come from cells of three significant digits that are never too low: a p99
of 50 ms is told as 50.0 to 50.05 ms.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.verdict.thresholds import Limit, Op, Status, minimum_samples

LEAST_SAMPLES = 20


@dataclass(frozen=True)
class Fleet:
    """What all of them have. Durations end in _s."""

    name: str
    devices: int
    per_s: float
    duration_s: float
    warm_up_per_s: float = 1500.0
    warm_up_at_once: int = 64  # unanswered first beats: each costs the server a bcrypt, and more would only queue
    settle_s: float = 2.0  # between two legs
    timeout_s: float = 10.0
    bucket_s: float = 10.0
    lag_ms: float = 20.0  # p99 of the generator's own delay: less than half of the limit that it helps to judge
    cpu_share: float = 0.9  # of one core, from which on the generator itself may be what is slow
    strangers_share: float = 0.25  # of the CPUs: from here on, a latency beyond its limit blames nobody

    def __post_init__(self) -> None:
        if not 1 <= self.devices <= 1_000_000:
            raise ValueError("devices: 1 to 1000000")
        if not self.per_s > 0:
            raise ValueError("rate: more than 0")
        if not self.duration_s > 0:
            raise ValueError("duration: more than 0")

    @property
    def interval_s(self) -> float:
        """Of a point of the course over time: a second, or ten in a run of more than ten minutes."""
        return 1.0 if self.duration_s <= 600 else 10.0

    @property
    def plan(self) -> str:
        return f"{self.devices} devices, {self.per_s:.0f} heartbeats/s for {self.duration_s:g} s"


@dataclass(frozen=True)
class Capacity(Fleet):
    """Stages of rising load, each of `duration_s`, until one is not held. per_s: that of the first stage."""

    most_per_s: float = 20_000.0
    p99_ms: float = 100.0
    error_rate: float = 0.01
    achieved: float = 0.98

    @property
    def plan(self) -> str:
        return f"{self.devices} devices, stages of {self.duration_s:g} s from {self.per_s:g} heartbeats/s to the knee"

    def next_rate(self, per_s: float) -> float:
        """100, 500, 1,000, then 500 more, and from 2,000 on a quarter more, in steps of 100."""
        if per_s < 500:
            return 500.0
        return per_s + 500 if per_s < 2000 else round(per_s * 1.25 / 100) * 100.0


@dataclass(frozen=True)
class Soak(Fleet):
    """A steady load for long, and what the backend's processes hold meanwhile."""

    memory_growth: float = 0.10
    descriptors: int = 10

    @property
    def sample_every_s(self) -> float:
        """Five seconds, or less in a quick look."""
        return max(1.0, min(5.0, self.duration_s / 120))


FLEET_SCALE = Fleet("fleet-scale", devices=100_000, per_s=100_000 / 120.0, duration_s=180.0)
CAPACITY = Capacity("capacity", devices=30_000, per_s=100.0, duration_s=10.0)
SOAK = Soak("soak", devices=20_000, per_s=300.0, duration_s=1800.0)
FLEETS: dict[str, Fleet] = {fleet.name: fleet for fleet in (FLEET_SCALE, CAPACITY, SOAK)}


@dataclass(frozen=True)
class Limits:
    """What a steady load has to keep; `achieved`, `lag` and `cpu` guard the run itself."""

    p95: Limit
    p99: Limit
    errors: Limit
    achieved: Limit
    lag: Limit
    cpu: Limit


def limits(fleet: Fleet) -> Limits:
    """The limits of this fleet. The percentiles are judged as values: the histogram has them, not the samples."""
    client, guard = "client: answered - intended", Status.INCONCLUSIVE

    def late(name: str, value: float, q: float) -> Limit:
        return Limit(name, "ms", "<", value, minimum_samples(q), source=client)

    def own(name: str, unit: str, op: Op, value: float, source: str) -> Limit:
        return Limit(name, unit, op, value, LEAST_SAMPLES, breach=guard, source=f"generator: {source}")

    return Limits(
        p95=late("heartbeat p95", 50, 0.95),
        p99=late("heartbeat p99", 50, 0.99),
        errors=Limit("heartbeat error rate", "", "==", 0, LEAST_SAMPLES, source="client: not 200, or no answer"),
        achieved=own("beats sent of plan", "", ">=", 0.98, "sent within 1 s of plan"),
        lag=own("generator lag p99", "ms", "<", fleet.lag_ms, "greenlet begun - intended"),
        cpu=own("generator CPU", "of a core", "<", fleet.cpu_share, "CPU time of its busiest process"),
    )
