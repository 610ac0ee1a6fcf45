"""The scenarios of an arrival rate as data: how many devices, how fast, how long.

Sources: performance targets (100,000 devices at 120 s); seed 000 for the bucket of 10 s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, NamedTuple, Self

from load.measurements.run import Scenario


class Phase(NamedTuple):
    """A part of a load: so long at this rate, or with a rate that goes from the one to the other in a straight line."""

    per_s: float
    duration_s: float
    to_per_s: float | None = None

    @property
    def mean_per_s(self) -> float:
        return self.per_s if self.to_per_s is None else (self.per_s + self.to_per_s) / 2

    @property
    def requests(self) -> int:
        return math.floor(self.duration_s * self.mean_per_s + 1e-9)


@dataclass(frozen=True)
class Percentile:
    """The latency that one kind of request has to keep."""

    kind: str
    q: float
    below_ms: float


@dataclass(frozen=True)
class ArrivalRate(Scenario):
    """What all of them have. cpu_share: of one core, from which on the generator itself may be what is slow.

    workload: what is sent, by its name in load/arrival_rate/catalogue.py. mix: the kinds of a workload that has
    several, each with its share. memory_growth: of the backend's processes, where that is judged.
    """

    per_s: float = 0.0
    workload: str = "heartbeats"
    mix: tuple[tuple[str, float], ...] = ()
    latency: tuple[Percentile, ...] = (Percentile("heartbeat", 0.95, 50), Percentile("heartbeat", 0.99, 50))
    warm_up_per_s: float = 1500.0
    warm_up_at_once: int = 64  # unanswered first heartbeats: each costs the server a bcrypt, and more would only queue
    pause_s: float = 2.0  # between two legs
    bucket_s: float = 10.0
    memory_growth: float | None = None
    descriptors: int = 10  # by which those processes may have more at the end, where memory is judged
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
    def phases(self) -> Sequence[Phase]:
        """What is measured, one after the other."""
        return (Phase(self.per_s, self.duration_s),)

    @property
    def warm_up_requests(self) -> int:
        return self.devices

    @property
    def sample_every_s(self) -> float:
        """Five seconds, or less in a quick look."""
        return max(1.0, min(5.0, self.duration_s / 120))

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
    """A steady load for long, and what the backend's processes hold during it. Latencies are not judged."""


# Seed 003: 70 % new students, 10 % repeats; the rest are those who work.
MIX = (("new", 0.7), ("replay", 0.1), ("release", 0.1), ("view", 0.08), ("stats", 0.02))
_LATENCY = tuple(
    Percentile(kind, q, ms) for kind in ("new", "replay", "release", "view") for q, ms in ((0.95, 20.0), (0.99, 50.0))
)
# 1 min to 100/s, 2 to 500, 2 to 1,000, 5 at 1,000, 2 to 100, 1 to 0 (seed 003).
_STAGES = ((100.0, 60.0), (500.0, 120.0), (1000.0, 120.0), (1000.0, 300.0), (100.0, 120.0), (0.0, 60.0))


@dataclass(frozen=True)
class Arrivals(ArrivalRate):
    """The students of a pool of sandboxes. devices: how many sandboxes are free at first. rise: rates that are reached
    in a straight line, one after the other, each with the seconds that it takes; else the rate is constant.

    compress: divides every duration, never a rate.
    """

    whom: ClassVar[str] = "sandboxes"
    workload: str = "students"
    mix: tuple[tuple[str, float], ...] = MIX
    latency: tuple[Percentile, ...] = _LATENCY
    rise: tuple[tuple[float, float], ...] = ()
    warm_up_per_s: float = 300.0
    compress: float = 1.0

    @property
    def phases(self) -> Sequence[Phase]:
        if not self.rise:
            return (Phase(self.per_s, self.duration_s),)
        rates = (0.0, *(per_s for per_s, _ in self.rise))
        steps = zip(rates, self.rise, strict=False)
        return [Phase(per_s, took_s / self.compress, to_per_s) for per_s, (to_per_s, took_s) in steps]

    @property
    def warm_up_requests(self) -> int:
        return self.devices if dict(self.mix).get("drain") else 500

    @property
    def whole_duration_s(self) -> float:
        return self.duration_s * self.compress

    def compressed(self, by: float) -> Self:
        """The same rates for a shorter time. ValueError: it would be longer, or not a second."""
        if not 1 <= by <= self.duration_s:
            raise ValueError(f"compress: 1 to {self.duration_s:g}")
        return replace(self, compress=by, duration_s=self.duration_s / by)

    @property
    def plan(self) -> str:
        arrivals, most = sum(phase.requests for phase in self.phases), max(phase.per_s for phase in self.phases)
        load = f"{arrivals} arrivals, up to {most:.0f}/s" if self.rise else f"{self.per_s:.0f} requests/s"
        return f"{self.devices} sandboxes, {load} for {self.duration_s:g} s"


@dataclass(frozen=True)
class OfZones(ArrivalRate):
    """Requests to zones of the platform. devices: how many zones, in turns."""

    whom: ClassVar[str] = "zones"

    @property
    def warm_up_requests(self) -> int:
        return 500

    @property
    def zones(self) -> str:
        return "one zone" if self.devices == 1 else f"{self.devices} zones"


@dataclass(frozen=True)
class ZoneWrites(OfZones):
    """Files of 1 KiB, written by JSON-RPC."""

    workload: str = "writes"
    latency: tuple[Percentile, ...] = (Percentile("write", 0.99, 100.0),)
    warm_up_per_s: float = 300.0

    @property
    def plan(self) -> str:
        return f"{self.per_s:.0f} writes/s into {self.zones} for {self.duration_s:g} s"


@dataclass(frozen=True)
class ZoneTasks(OfZones):
    """Tasks submitted, claimed in batches, completed and looked at; and priorities classified."""

    workload: str = "tasks"
    mix: tuple[tuple[str, float], ...] = (
        ("submit", 0.4), ("claim", 0.08), ("complete", 0.4), ("look", 0.06), ("classify", 0.06)
    )  # fmt: skip
    latency: tuple[Percentile, ...] = (
        Percentile("submit", 0.95, 50.0),
        Percentile("claim", 0.95, 50.0),
        Percentile("complete", 0.95, 50.0),
        Percentile("look", 0.95, 20.0),
        Percentile("classify", 0.95, 20.0),
    )
    warm_up_per_s: float = 250.0

    @property
    def plan(self) -> str:
        return f"{dict(self.mix)['submit'] * self.per_s:.0f} tasks/s through {self.zones} for {self.duration_s:g} s"


@dataclass(frozen=True)
class ZoneAgents(ArrivalRate):
    """Heartbeats of a platform's agents, by JSON-RPC. devices: how many agents, in thirty zones."""

    whom: ClassVar[str] = "agents"
    workload: str = "agents"
    latency: tuple[Percentile, ...] = (Percentile("heartbeat", 0.95, 50.0), Percentile("heartbeat", 0.99, 100.0))
    warm_up_per_s: float = 300.0

    @property
    def plan(self) -> str:
        return f"{self.devices} agents, {self.per_s:.0f} heartbeats/s for {self.duration_s:g} s"


FLEET_SCALE = ArrivalRate("fleet-scale", devices=100_000, per_s=100_000 / 120.0, duration_s=180.0)
CAPACITY = Capacity("capacity", devices=30_000, per_s=100.0, duration_s=10.0)
SOAK = Soak("soak", devices=20_000, per_s=300.0, duration_s=1800.0, memory_growth=0.10)
STEADY = Arrivals("sandboxes-steady", devices=30_000, per_s=100.0, duration_s=300.0)
STAGED = Arrivals("sandboxes-staged", devices=400_000, per_s=1000.0, duration_s=780.0, rise=_STAGES, memory_growth=0.10)
EXHAUSTED = Arrivals(
    "sandboxes-exhausted",
    devices=5_000,
    per_s=1000.0,
    duration_s=60.0,
    mix=(("drain", 1.0), ("new", 1.0)),
    latency=(Percentile("new", 0.99, 20.0),),
)
JOBS = Arrivals("sandboxes-jobs", devices=40_000, per_s=300.0, duration_s=120.0, workload="students beside jobs")
PLATFORM_WRITES = ZoneWrites("platform-writes", devices=50, per_s=300.0, duration_s=60.0)
PLATFORM_WRITES_ONE = ZoneWrites("platform-writes-one", devices=1, per_s=150.0, duration_s=60.0)
# Rates that are to be kept up; what a call then may take, the budgets say of 50 requests/s.
_KEEPS_UP: Final = tuple(Percentile(kind, 0.99, 1000.0) for kind in ("submit", "claim", "complete"))
SCHEDULER = ZoneTasks("scheduler", devices=10, per_s=500.0, duration_s=60.0, latency=_KEEPS_UP)
SCHEDULER_ONE = ZoneTasks("scheduler-one", devices=1, per_s=250.0, duration_s=60.0, latency=_KEEPS_UP)
SCHEDULER_CALLS = ZoneTasks("scheduler-calls", devices=1, per_s=50.0, duration_s=90.0)
AGENTS = ZoneAgents("agents", devices=3000, per_s=100.0, duration_s=180.0)  # each every 30 s
