"""Which tasks the calls of a scheduler must leave behind, with what attempts, events and usage, as the answers tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self

from load.workloads.faults import counted

CLAIMED_AT_ONCE: Final = 10


class TaskRow(NamedTuple):
    """A task as it is stored, with the outcomes of its attempts in their order; None of one that has not ended."""

    key: str
    task_id: str
    status: str
    outcomes: Sequence[str | None]


@dataclass(frozen=True)
class QueueFound:
    """A zone after a run, as the tables have it. events: how many of each type; numbers: theirs, in order; last_event:
    the number that the zone stands at; charged: the queued tasks that count against its limit."""

    tasks: Sequence[TaskRow]
    events: Mapping[str, int]
    numbers: Sequence[int]
    last_event: int
    charged: int


@dataclass
class TaskRecord:
    """What was acknowledged, and what may be there as its answer is not known. Leases last longer than a run.

    submitted: idempotency key -> task; claimed: how often a task was given out; lost_claims: calls that may have been
    given tasks which nobody was told of.
    """

    submitted: dict[str, str] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    claimed: Counter[str] = field(default_factory=Counter)
    lost_claims: int = 0
    completed: set[str] = field(default_factory=set)
    unsure_completed: set[str] = field(default_factory=set)
    refusals: Counter[str] = field(default_factory=Counter)

    def merge(self, other: TaskRecord) -> None:
        self.submitted |= other.submitted
        self.unsure |= other.unsure
        self.claimed.update(other.claimed)
        self.lost_claims += other.lost_claims
        self.completed |= other.completed
        self.unsure_completed |= other.unsure_completed
        self.refusals.update(other.refusals)

    def to_dict(self) -> dict[str, Any]:
        """For a message between processes."""
        return {name: list(value) if isinstance(value, set) else value for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        record = cls(dict(document["submitted"]), lost_claims=document["lost_claims"])
        for name in ("unsure", "claimed", "completed", "unsure_completed", "refusals"):
            getattr(record, name).update(document[name])
        return record


def task_faults(record: TaskRecord, found: Sequence[QueueFound]) -> list[str]:
    """What is wrong with the rows: one for each acknowledged submit, and none of nobody's."""
    there = {task.key: task.task_id for task in _tasks(found)}
    lost = [key for key, task_id in record.submitted.items() if there.get(key) != task_id]
    return [
        *counted("acknowledged tasks without a row", lost),
        *counted("tasks that nobody submitted", there.keys() - record.submitted.keys() - record.unsure),
    ]


def claim_faults(record: TaskRecord, found: Sequence[QueueFound]) -> list[str]:
    """What is wrong with the attempts: a task is given out once, and each that was is an attempt."""
    attempts = {task.task_id: len(task.outcomes) for task in _tasks(found)}
    untold = [task_id for task_id, count in attempts.items() if count and task_id not in record.claimed]
    return [
        *counted("tasks that were given out twice", [one for one, count in record.claimed.items() if count > 1]),
        *counted("tasks with a second attempt", [one for one, count in attempts.items() if count > 1]),
        *counted("claimed tasks without an attempt", [one for one in record.claimed if not attempts.get(one)]),
        *counted("attempts that nobody was given", untold[record.lost_claims * CLAIMED_AT_ONCE :]),
    ]


def completion_faults(record: TaskRecord, found: Sequence[QueueFound]) -> list[str]:
    """What is wrong with the ends: a task is completed by its last attempt, where that was said."""
    done = {
        task.task_id for task in _tasks(found) if task.status == "completed" and task.outcomes[-1:] == ["completed"]
    }
    stated = {task.task_id for task in _tasks(found) if task.status == "completed"}
    return [
        *counted("acknowledged completions of tasks that are not completed", record.completed - done),
        *counted("tasks that nobody completed", stated - record.completed - record.unsure_completed),
    ]


def event_faults(found: Sequence[QueueFound]) -> list[str]:
    """What is wrong with the logs: an event for each submit, claim and completion, numbered without a gap."""
    faults = []
    for zone, seen in enumerate(found):
        wanted = {
            "task.submitted": len(seen.tasks),
            "task.claimed": sum(len(task.outcomes) for task in seen.tasks),
            "task.completed": sum(task.status == "completed" for task in seen.tasks),
        }
        if dict(seen.events) != {kind: count for kind, count in wanted.items() if count}:
            faults.append(f"zone {zone}: events {dict(seen.events)}, but the tasks make {wanted}")
        if list(seen.numbers) != list(range(1, seen.last_event + 1)):
            faults.append(f"zone {zone}: {len(seen.numbers)} events are not numbered 1 to {seen.last_event}")
    return faults


def usage_faults(found: Sequence[QueueFound]) -> list[str]:
    """Where a zone is charged for another number of queued tasks than it has."""
    queued = [sum(task.status == "queued" for task in seen.tasks) for seen in found]
    return [
        f"zone {zone} is charged for {seen.charged} queued tasks, but has {count}"
        for zone, (seen, count) in enumerate(zip(found, queued, strict=True))
        if seen.charged != count
    ]


def _tasks(found: Sequence[QueueFound]) -> list[TaskRow]:
    return [task for seen in found for task in seen.tasks]
