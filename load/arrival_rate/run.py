"""A run at an arrival rate: what its senders have counted, leg by leg."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from load.measurements.generator_cost import GeneratorCost
from load.measurements.histogram import Stage, Timings
from load.measurements.process_stats import Watch
from load.measurements.run import Run
from load.measurements.tally import Ledger, Tally
from load.workloads.arrival_rate import ArrivalRate

L = TypeVar("L", bound=Ledger)


class End(Enum):
    """Why no further stage was run."""

    KNEE = "the server no longer kept up"
    GENERATOR = "the generator is the limit"
    TOP = "every stage was held"


@dataclass
class ArrivalRateRun(Run):
    """warm_up: not judged. measured: the run itself. steps: the stages of a rising load; end: why it stopped rising."""

    scenario: ArrivalRate
    warm_up: Tally | None = None
    measured: Tally | None = None
    steps: list[Stage] = field(default_factory=list)
    end: End | None = None
    watch: Watch | None = None

    @property
    def stages(self) -> list[Stage]:
        return self.steps

    @property
    def tallies(self) -> list[Tally]:
        return [tally for tally in (self.warm_up, self.measured) if tally is not None]

    def ledger(self, kind: type[L]) -> L:
        """What the answers of all legs say that must be there, of a workload with such a ledger."""
        whole = kind()
        for tally in self.tallies:
            assert isinstance(tally.ledger, kind)
            whole.merge(tally.ledger)
        return whole

    @property
    def generator_cost(self) -> GeneratorCost | None:
        """Over the time for which requests were due."""
        if self.measured is None:
            return None
        wall_s = sum(stage.to_s - stage.from_s for stage in self.steps) or self.scenario.duration_s
        return GeneratorCost(self.measured.sent, self.measured.cpu_s, wall_s)

    def timings(self) -> Timings:
        """Of all legs together."""
        timings = Timings(self.scenario.interval_s, self.scenario.request_timeout_s)
        for tally in self.tallies:
            timings.merge(tally.timings)
        return timings

    @property
    def answered(self) -> int:
        """With 200."""
        return sum(tally.answered for tally in self.tallies)

    @property
    def unanswered(self) -> int:
        """Requests of which it is not known what became of them."""
        return sum(tally.unanswered for tally in self.tallies)
