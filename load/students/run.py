"""A run of students: the record of their calls, and what it looked at besides."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from harness.sandboxes.calls import ALLOCATE, Call
from load.measurements.timed_run import TimedRun
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
class StudentRun(TimedRun):
    """calls: every call that can allocate, end or show an allocation. outcomes: the statuses of those that ask for a
    sandbox.

    Of the demonstration: visits, by track; pool: how many sandboxes
    were in each state, at times of the server; endings: what became of each allocation; deletions: the provider's
    record of calls to delete; listed: the sandboxes that it has left.
    """

    scenario: Students
    calls: list[Call] = field(default_factory=list)
    outcomes: Counter[int] = field(default_factory=Counter)
    visits: dict[str, Visit] = field(default_factory=dict)
    pool: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    deletions: list[dict[str, Any]] = field(default_factory=list)
    listed: set[str] = field(default_factory=set)

    @property
    def given(self) -> list[Call]:
        """The calls that were answered with a new allocation."""
        return [call for call in self.calls if call.kind == ALLOCATE and call.status == 201]

    def record(self, call: Call) -> None:
        """Keep a call, answered or not."""
        self.calls.append(call)
        if call.kind == ALLOCATE:
            self.outcomes[call.status] += 1
