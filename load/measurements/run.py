"""A run, and the scenario that it is a run of: what is known of every run, whatever it sends."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from harness.settings import Target
from harness.verdict.cpu_contention import LEAST_SHARE
from harness.verdict.thresholds import Check, Status
from load.measurements.generator_cost import GeneratorCost
from load.measurements.histogram import Stage, Timings
from load.measurements.server_clock import ServerClock, this_machine

OVER = "over"
NOT_PREPARED = Check("preparation", "what the run needs is ready", Status.INCONCLUSIVE, "not finished")


@dataclass(frozen=True)
class Scenario(ABC):
    """What every scenario has. Durations end in _s.

    whom: what its devices are called. duration_s: 0: as long as it takes. lag_ms: p99 of sent - intended that the
    generator may have.
    other_cpu_share: of the CPUs; from there on, a latency beyond its limit blames nobody.
    """

    whom: ClassVar[str] = "devices"

    name: str
    devices: int
    duration_s: float = 0.0
    request_timeout_s: float = 10.0
    lag_ms: float = 50.0
    other_cpu_share: float = LEAST_SHARE

    @property
    @abstractmethod
    def plan(self) -> str:
        """What is done, in a few words."""

    @property
    def whole_duration_s(self) -> float:
        """The duration of the scenario of which this is a compressed form."""
        return self.duration_s


@dataclass
class Run(ABC):
    """One run against one target. Times are the server's, in seconds since the epoch.

    id makes its names unique, so that it can be repeated against the same deployment. other_cpu: the share of the CPUs
    that programs outside the run took; None: unknown. refusals: what the product refused or lost. doubts: why the run
    proves nothing, whatever it measured.
    """

    scenario: Scenario
    id: str
    seed: int
    capabilities: frozenset[str]
    started_at: float
    target: str = ""
    phases: list[tuple[float, str]] = field(default_factory=list)
    preparation: Check = NOT_PREPARED
    other_cpu: float | None = None
    clock: ServerClock = field(default_factory=this_machine)
    refusals: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    interrupted: bool = False
    secrets: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, scenario: Any, target: Target, seed: int | None) -> Self:
        """A run that has not begun; seed: None: drawn."""
        return cls(
            scenario,
            id=f"{int(time.time()):08x}{secrets.token_hex(1)}",
            seed=secrets.randbits(32) if seed is None else seed,
            capabilities=target.capabilities,
            started_at=time.time(),
            target=target.base_url,
            secrets=[target.admin_key, target.hmac_secret],
        )

    @property
    def tag(self) -> str:
        """Begins the X-Request-ID of every request of the run's own."""
        return f"{self.scenario.name}-{self.id}"

    @property
    def exclusive(self) -> bool:
        """Nobody else uses the deployment, so its counters may be compared exactly."""
        return "process" in self.capabilities

    @property
    def is_ready(self) -> bool:
        """The preparation has passed."""
        return self.preparation.status is Status.PASS

    @property
    def phase(self) -> str:
        return self.phases[-1][1] if self.phases else "starting"

    @property
    def stages(self) -> list[Stage]:
        """The parts of the run with a load of their own, where it has some."""
        return []

    @property
    @abstractmethod
    def generator_cost(self) -> GeneratorCost | None:
        """Of the requests that are judged; None: none was sent yet."""

    @abstractmethod
    def timings(self) -> Timings:
        """How long answers took, by kind of request and over time."""

    def enter(self, phase: str, at: float | None = None) -> None:
        """Begin a phase, at this time; None: now."""
        self.phases.append((self.clock.now() if at is None else at, phase))

    def prepared(self, status: Status, detail: str) -> None:
        self.preparation = Check(NOT_PREPARED.id, NOT_PREPARED.title, status, detail)

    def refused(self, what: str) -> None:
        """Keep what the product refused or lost; the limits and checks say what that means."""
        self.refusals.append(what)

    def doubt(self, error: BaseException) -> None:
        """Something of the harness broke."""
        self.doubts.append(f"the harness broke: {in_short(error)}")


def in_short(error: BaseException) -> str:
    """An exception in one short line."""
    return f"{type(error).__name__}: {error}"[:300]
