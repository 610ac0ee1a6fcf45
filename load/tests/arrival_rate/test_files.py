"""What writes leave behind in zones, compared with what was answered; workloads/test_write_record.py has the faults."""

from __future__ import annotations

import time
from typing import Any

import pytest

from harness.settings import SettingsError, Target
from harness.verdict.thresholds import Check
from load.arrival_rate.files import CHECKS, SeededFiles
from load.arrival_rate.run import ArrivalRateRun
from load.arrival_rate.workload import Observations
from load.measurements.histogram import Timings
from load.measurements.observations import LogErrors, Metrics, Part
from load.measurements.tally import Tally
from load.tests.workloads.test_write_record import SEED, zone
from load.verdict.check import run_checks
from load.workloads.arrival_rate import PLATFORM_WRITES
from load.workloads.write_record import WriteRecord

CALLS = ("nexmdm_platform_rpc_calls_total", frozenset({("method", "write"), ("outcome", "result")}))


def look(record: WriteRecord, *found: Any, answered: int = 3, unanswered: int = 0, counted: int = 3) -> dict[str, str]:
    """The status of each check of a run with this record."""
    tally = Tally(Timings(1.0, 10.0), answered=answered, unanswered=unanswered, ledger=record)
    run = ArrivalRateRun(PLATFORM_WRITES, "run", SEED, frozenset({"process"}), time.time(), measured=tally)
    seen = Observations(
        rows=Part(list(found)),
        metrics=Part(Metrics({CALLS: 10.0}, {CALLS: 10.0 + counted})),
        log=Part(LogErrors(5, [])),
    )
    checks: list[Check] = run_checks(run, seen, CHECKS)
    return {check.id: check.status.value for check in checks}


PASS = dict.fromkeys(("files", "events", "usage", "counters", "log-errors"), "pass")


def test_a_target_without_a_database_can_have_no_zones() -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        SeededFiles(Target("http://127.0.0.1:1", "k" * 20, "s" * 20))


def test_what_was_answered_is_there() -> None:
    assert look(WriteRecord({0, 2, 1}), zone(2, 0), zone(1)) == PASS


def test_each_check_sees_its_own_fault() -> None:
    assert look(WriteRecord({0, 2, 1, 3}), zone(2, 0), zone(1), answered=3) == PASS | {"files": "fail"}
    assert look(WriteRecord({0, 2, 1}), zone(2, 0), zone(1), counted=2) == PASS | {"counters": "fail"}
    assert look(WriteRecord({0, 2, 1}), zone(2, 0), zone(1), counted=4) == PASS | {"counters": "fail"}
    assert look(WriteRecord({0, 2, 1}), zone(2, 0), zone(1), counted=4, unanswered=1) == PASS


def test_where_nothing_was_answered_nothing_passes() -> None:
    seen = look(WriteRecord(), zone(), zone(), answered=0, counted=0)
    assert (seen["files"], seen["counters"]) == ("inconclusive", "fail")


def test_where_most_are_unsure_a_match_says_nothing() -> None:
    assert look(WriteRecord({0}, {2, 4}), zone(0), answered=1, counted=1)["files"] == "inconclusive"
