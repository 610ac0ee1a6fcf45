"""A run of students: the record of their calls, how long each took, and what was wrong with answers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from harness.sandboxes.calls import ALLOCATE, Call
from load.measurements.generator_cost import GeneratorCost
from load.measurements.histogram import Histogram, Timings
from load.measurements.run import Run
from load.students.visits import Visit
from load.workloads.students import Students


class Ending(NamedTuple):
    """An allocation of the ledger, and the state of its sandbox. ended_at: Unix seconds; None: it is live."""

    track_id: str
    sandbox_id: str
    status: str
    ended_at: float | None
    end_reason: str | None


@dataclass
class StudentRun(Run):
    """calls: every call that can allocate, end or show an allocation. outcomes: the statuses of those that ask for a
    sandbox. wrong: errors, by what they were.

    lag: sent - due. begun_at: when the students began. Of the demonstration: visits, by track; pool: how many sandboxes
    were in each state, at times of the server; endings: what became of each allocation; deletions: the provider's
    record of calls to delete; listed: the sandboxes that it has left.
    """

    scenario: Students
    calls: list[Call] = field(default_factory=list)
    outcomes: Counter[int] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    lag: Histogram = field(default_factory=Histogram)
    begun_at: float | None = None
    generator_cost: GeneratorCost | None = None
    visits: dict[str, Visit] = field(default_factory=dict)
    pool: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    deletions: list[dict[str, Any]] = field(default_factory=list)
    listed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._times = Timings(self.scenario.interval_s, self.scenario.request_timeout_s)

    @property
    def given(self) -> list[Call]:
        """The calls that were answered with a new allocation."""
        return [call for call in self.calls if call.kind == ALLOCATE and call.status == 201]

    def record(self, call: Call) -> None:
        """Keep a call, answered or not."""
        self.calls.append(call)
        if call.kind == ALLOCATE:
            self.outcomes[call.status] += 1

    @property
    def requests(self) -> int:
        """All that were timed."""
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
