"""What is a fault among the tasks that are found: each lie of the service about rows, attempts, ends, events, usage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from load.workloads.task_record import (
    QueueFound,
    TaskRecord,
    TaskRow,
    claim_faults,
    completion_faults,
    event_faults,
    task_faults,
    usage_faults,
)

Kind = tuple[str, Sequence[str | None]]  # status, and the outcomes of the attempts

DONE: Kind = ("completed", ["completed"])
OPEN: Kind = ("running", [None])
QUEUED: Kind = ("queued", [])


def zone(**tasks: Kind) -> QueueFound:
    """One with these tasks, each by its key, whose id is the key in capitals."""
    rows = [TaskRow(key, key.upper(), status, outcomes) for key, (status, outcomes) in tasks.items()]
    told = Counter({"task.submitted": len(rows), "task.claimed": sum(len(row.outcomes) for row in rows)})
    told["task.completed"] = sum(row.status == "completed" for row in rows)
    events = {kind: count for kind, count in told.items() if count}
    numbers = range(1, told.total() + 1)
    return QueueFound(rows, events, numbers, told.total(), sum(row.status == "queued" for row in rows))


def record(submitted: str = "", claimed: str = "", completed: str = "", **rest: object) -> TaskRecord:
    """Of tasks with names of one letter."""
    made = TaskRecord({key: key.upper() for key in submitted}, claimed=Counter(claimed.upper()))
    made.completed = set(completed.upper())
    for name, value in rest.items():
        setattr(made, name, value)
    return made


FOUND = zone(a=DONE, b=OPEN, c=QUEUED)
RIGHT = record("abc", "ab", "a")


def faults(asked: TaskRecord, *found: QueueFound) -> list[str]:
    judged = (judge(asked, found) for judge in (task_faults, claim_faults, completion_faults))
    return [*(fault for faults in judged for fault in faults), *event_faults(found), *usage_faults(found)]


def test_what_was_acknowledged_is_there() -> None:
    assert faults(RIGHT, FOUND) == []
    assert faults(record("abd", "abd", "a"), zone(a=DONE, b=OPEN), zone(d=OPEN)) == []


def test_what_is_unsure_may_be_there_or_not() -> None:
    unsure = record("ab", "a", unsure={"c", "x"}, lost_claims=1, unsure_completed={"A"})
    assert faults(unsure, FOUND) == []


@pytest.mark.parametrize(
    "asked, found, fault",
    [
        (record("abcd", "ab", "a"), FOUND, "1 acknowledged tasks without a row"),
        (record("ab", "ab", "a"), FOUND, "1 tasks that nobody submitted"),
        (record("abc", "abb", "a"), FOUND, "1 tasks that were given out twice"),
        (record("abc", "abc", "a"), FOUND, "1 claimed tasks without an attempt"),
        (record("abc", "a", "a"), FOUND, "1 attempts that nobody was given"),
        (record("abc", "ab", "ab"), FOUND, "1 acknowledged completions of tasks that are not completed"),
        (record("abc", "ab", ""), FOUND, "1 tasks that nobody completed"),
        (record("a", "a", "a"), zone(a=("completed", ["expired", "completed"])), "1 tasks with a second attempt"),
        (record("a", "a", "a"), zone(a=("completed", ["failed"])), "1 acknowledged completions of"),
        (RIGHT, replace(FOUND, charged=2), "zone 0 is charged for 2 queued tasks, but has 1"),
        (RIGHT, replace(FOUND, numbers=[1, 2, 3, 4, 6, 7]), "zone 0: 6 events are not numbered 1 to 6"),
        (RIGHT, replace(FOUND, last_event=7), "zone 0: 6 events are not numbered 1 to 7"),
        (RIGHT, replace(FOUND, events={"task.submitted": 3, "task.claimed": 2}), "zone 0: events"),
        (RIGHT, replace(FOUND, events={**FOUND.events, "task.retried": 1}), "zone 0: events"),
    ],
)
def test_each_lie_is_a_fault(asked: TaskRecord, found: QueueFound, fault: str) -> None:
    [told] = faults(asked, found)
    assert told.startswith(fault)


def test_a_call_without_an_answer_excuses_no_more_than_it_may_have_been_given() -> None:
    many = zone(**{f"t{number}": OPEN for number in range(11)})
    asked = TaskRecord({row.key: row.task_id for row in many.tasks}, lost_claims=1)
    assert claim_faults(asked, [many]) == ["1 attempts that nobody was given"]


def test_parts_of_processes_add_up_past_a_message() -> None:
    one, other = record("a", "a", "a", lost_claims=1), record("b", "ab", unsure={"c"}, refusals=Counter(["claim 503"]))
    one.merge(TaskRecord.from_dict(other.to_dict()))
    assert one == record("ab", "aab", "a", lost_claims=1, unsure={"c"}, refusals=Counter(["claim 503"]))
