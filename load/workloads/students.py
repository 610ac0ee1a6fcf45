"""The scenarios of students as data: how many at once, how many sandboxes for them, what they do.

A user is one of the students that there are at any time: it plays one track after another, each with a sandbox of its
own. Source: seed 003, "Load Testing Infrastructure", "Stress Test" and "Multi-Student Load Test".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from load.measurements.run import Scenario
from load.workloads.arrival_rate import MIX, Percentile
from load.workloads.shown import Shown

LABS: Final = ("aws-security-101", "aws-networking-101", "kubernetes-basics", "docker-intro", "terraform-101")
ALLOCATE, REPEAT, RELEASE, VIEW, STATS = "allocate", "repeat", "release", "view", "stats"


@dataclass(frozen=True)
class Students(Scenario):
    """What all have. devices: users at once. sandboxes: how many are seeded for them; exhausts: and all are given."""

    whom: ClassVar[str] = "students"

    sandboxes: int = 0
    exhausts: bool = False
    labs: tuple[str, ...] = LABS

    def __post_init__(self) -> None:
        if not 1 <= self.devices <= 1000:
            raise ValueError("students: 1 to 1000")
        if not 1 <= self.sandboxes <= 1_000_000:
            raise ValueError("sandboxes: 1 to 1000000")


@dataclass(frozen=True)
class Mixed(Students):
    """Users who do this and that, with a pause between two requests. A share that is named in none is a new track.

    latency: of `allocate`, also where the pool is empty.
    """

    pause_s: tuple[float, float] = (0.0, 2.0)  # "Think Time: 0-2 seconds"
    shares: tuple[tuple[str, float], ...] = ((REPEAT, 0.1),)
    latency: tuple[Percentile, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.duration_s > 0:
            raise ValueError("duration: more than 0")

    @property
    def plan(self) -> str:
        low, high = self.pause_s
        pause = f"a pause of {low:g}-{high:g} s" if high else "no pause"
        return f"{self.devices} students, {self.sandboxes} sandboxes, {pause}, {self.duration_s:g} s"


@dataclass(frozen=True)
class MultiLab(Students):
    """Students of several labs, each of whom plays every lab and asks for its sandbox more than once; then a crowd.

    devices: that crowd, new tracks all at once. students: those before it. asks: requests for a sandbox of each track.
    late: tracks that come when all has been given.
    """

    students: int = 50
    asks: int = 3
    late: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.students <= self.devices:
            raise ValueError(f"students: 1 to {self.devices}, the crowd at the end")

    @property
    def tracks(self) -> int:
        """All that get a sandbox, before the crowd and in it."""
        return self.students * len(self.labs) + self.devices

    @property
    def plan(self) -> str:
        labs = f"{self.students} students x {len(self.labs)} labs x {self.asks} requests"
        return f"{labs}, then {self.devices} students at once"


@dataclass(frozen=True)
class Demonstration(Students, Shown):
    """Students who come over time, work, and go, or vanish; a provider that is slow and fails now and then.

    devices: all students. sandboxes: what the provider gets for them, in portions, each at its share of the duration.
    """

    portions: tuple[float, ...] = (0.0, 0.18, 0.34, 0.5, 0.64)
    arrivals_end: float = 0.55  # share of the duration, as are the next two
    works: tuple[float, float] = (0.06, 0.2)
    outage: tuple[float, float] = (0.42, 0.48)
    pause_s: tuple[float, float] = (0.5, 1.5)  # between two requests of a student

    def __post_init__(self) -> None:
        Students.__post_init__(self)
        Shown.__post_init__(self)

    @property
    def plan(self) -> str:
        return f"{self.devices} students of {len(self.labs)} labs come over {self.duration_s:g} s"


_STUDENT = tuple((REPEAT if kind == "replay" else kind, share) for kind, share in MIX if kind != "new")

SMOKE = Mixed(
    "sandboxes-smoke",
    devices=10,
    duration_s=30.0,
    sandboxes=200,
    shares=_STUDENT,
    latency=(Percentile(ALLOCATE, 0.95, 100),),
)
STRESS = Mixed(
    "sandboxes-stress",
    devices=100,
    duration_s=120.0,
    sandboxes=100,
    exhausts=True,
    latency=(Percentile(ALLOCATE, 0.99, 100),),
)
WITHOUT_PAUSE = (Percentile(ALLOCATE, 0.99, 500),)
SANDBOXES = Demonstration("sandboxes", devices=50, duration_s=90.0, sandboxes=60)
MULTI = MultiLab("sandboxes-multi", devices=200, sandboxes=450, exhausts=True)
