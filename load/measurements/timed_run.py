"""A run that times each request as its answer comes, and keeps what was wrong with answers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from load.measurements.generator_cost import GeneratorCost
from load.measurements.histogram import Histogram, Timings
from load.measurements.run import Run

_INTERVAL_S = 1.0  # of a point of the course over time


@dataclass
class TimedRun(Run):
    """wrong: errors, by what they were. lag: sent - due. begun_at: when the users began."""

    wrong: Counter[str] = field(default_factory=Counter)
    lag: Histogram = field(default_factory=Histogram)
    begun_at: float | None = None
    generator_cost: GeneratorCost | None = None

    def __post_init__(self) -> None:
        self._times = Timings(_INTERVAL_S, self.scenario.request_timeout_s)

    @property
    def requests(self) -> int:
        """How many were timed."""
        return self._times.all().n

    def timings(self) -> Timings:
        return self._times

    def timed(self, kind: str, due: float, sent: float, answered: float, fault: str) -> None:
        """Count a request that was due, sent and answered at these times; fault: what was wrong."""
        self.lag.record(sent - due)
        self._times.record(kind, due - self.started_at, answered - self.started_at, ok=not fault)
        if fault:
            self.wrong[f"{kind}: {fault}"] += 1
            self.refused(f"{kind}: {fault}")
