"""What calls of a scheduler leave behind, compared with what was answered; test_task_record.py has the faults."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from harness.settings import SettingsError, Target
from load.arrival_rate.queues import CHECKS, SeededQueues
from load.arrival_rate.run import ArrivalRateRun
from load.arrival_rate.workload import Observations
from load.measurements.histogram import Timings
from load.measurements.observations import LogErrors, Metrics, Part
from load.measurements.tally import Tally
from load.tests.workloads.test_task_record import FOUND, RIGHT, record
from load.verdict.check import run_checks
from load.workloads.arrival_rate import SCHEDULER
from load.workloads.task_record import QueueFound, TaskRecord

NAME = "nexmdm_platform_tasks_total"
COUNTED = {"task.submitted": 3, "task.claimed": 2, "task.completed": 1}


def look(asked: TaskRecord, found: QueueFound = FOUND, counted: Mapping[str, int] = COUNTED) -> dict[str, str]:
    """The status of each check of a run with this record. counted: by how much the counter of an event grew."""
    tally = Tally(Timings(1.0, 10.0), answered=6, ledger=asked)
    run = ArrivalRateRun(SCHEDULER, "run", 7, frozenset({"process"}), time.time(), measured=tally)
    grew = {(NAME, frozenset({("event", event)})): float(count) for event, count in counted.items()}
    seen = Observations(
        rows=Part([found]),
        metrics=Part(Metrics(dict.fromkeys(grew, 0.0), grew)),
        log=Part(LogErrors(5, [])),
    )
    return {check.id: check.status.value for check in run_checks(run, seen, CHECKS)}


PASS = dict.fromkeys(("tasks", "claims", "completions", "events", "usage", "counters", "log-errors"), "pass")


def test_a_target_without_a_database_can_have_no_zones() -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        SeededQueues(Target("http://127.0.0.1:1", "k" * 20, "s" * 20))


def test_what_was_answered_is_there() -> None:
    assert look(RIGHT) == PASS


def test_each_check_sees_its_own_fault() -> None:
    assert look(record("abcd", "ab", "a"), counted=COUNTED | {"task.submitted": 4}) == PASS | {"tasks": "fail"}
    assert look(record("abc", "abb", "a"), counted=COUNTED | {"task.claimed": 3}) == PASS | {"claims": "fail"}
    assert look(record("abc", "ab", "ab"), counted=COUNTED | {"task.completed": 2}) == PASS | {"completions": "fail"}
    for event, count in COUNTED.items():
        assert look(RIGHT, counted=COUNTED | {event: count + 1}) == PASS | {"counters": "fail"}


def test_where_nothing_was_answered_nothing_passes() -> None:
    seen = look(TaskRecord(), QueueFound([], {}, [], 0, 0), dict.fromkeys(COUNTED, 0))
    undecided = {name: seen[name] for name in ("tasks", "claims", "completions", "counters")}
    assert undecided == dict.fromkeys(("tasks", "claims", "completions"), "inconclusive") | {"counters": "fail"}
