"""What a fleet leaves behind, read from counters and log; measurements/test_tally.py has the rows."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.settings import SettingsError, Target
from harness.verdict.thresholds import Check
from load.arrival_rate.heartbeats import CHECKS, SeededFleet
from load.arrival_rate.run import ArrivalRateRun
from load.measurements.histogram import Timings
from load.measurements.observations import Before
from load.measurements.tally import Tally
from load.verdict.check import run_checks
from load.workloads.arrival_rate import FLEET_SCALE
from load.workloads.heartbeat_rows import HeartbeatRows

NUMBERS = ("nexmdm_heartbeats_total", frozenset({("result", "ingested")}))
OLD = '{"level": "ERROR", "event": "internal.error"}\n'


def look(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, log: str = "", counted: float = 5.0, **left: int
) -> dict[str, Check]:
    """The checks of a run that added `log` to the log and `counted` to the counter. There is no database."""
    path = tmp_path / "backend.log"
    path.write_text(OLD)
    values = iter([100.0, 100.0 + counted])
    monkeypatch.setattr(Before, "_read", lambda *_: {NUMBERS: next(values)})
    database = "postgresql://127.0.0.1:1/none"
    target = Target("http://127.0.0.1:1", "k" * 20, "s" * 20, database, log_file=path, backend_pid=1)
    run = ArrivalRateRun(FLEET_SCALE, "run", 1, target.capabilities, time.time())
    fleet = SeededFleet(target)
    fleet.begin(run)
    with path.open("a") as file:
        file.write(log)
    run.measured = replace(Tally(Timings(1.0, 10.0), answered=5, ledger=HeartbeatRows()), **left)  # type: ignore[arg-type]  # parametrised
    return {check.id: check for check in run_checks(run, fleet.observe(run), CHECKS)}


def test_a_target_without_a_database_can_have_no_fleet() -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        SeededFleet(Target("http://127.0.0.1:1", "k" * 20, "s" * 20))


@pytest.mark.parametrize(
    "log,status",
    [
        ('{"level": "INFO", "event": "ERROR"}\n', "pass"),
        ('{"level":"ERROR","event":"x"}\n', "fail"),
        ("", "inconclusive"),
        ("ERROR, and no JSON\n", "inconclusive"),
    ],
)
def test_the_log_of_the_run_holds_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: str, status: str
) -> None:
    assert look(monkeypatch, tmp_path, log=log)["log-errors"].status.value == status


@pytest.mark.parametrize(
    "counted,left,status",
    [
        (5, {}, "pass"),
        (4, {}, "fail"),
        (6, {}, "fail"),
        (6, {"unanswered": 1}, "pass"),
        (0, {"answered": 0}, "fail"),
    ],
)
def test_the_counter_grew_by_what_was_answered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, counted: float, left: dict[str, Any], status: str
) -> None:
    assert look(monkeypatch, tmp_path, counted=counted, **left)["counters"].status.value == status


def test_a_database_that_is_gone_is_inconclusive_and_spares_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checks = look(monkeypatch, tmp_path, log='{"level": "INFO"}\n')
    assert {name: check.status.value for name, check in checks.items()} == {
        "rows": "inconclusive",
        "counters": "pass",
        "log-errors": "pass",
    }
