"""The verdict over synthetic runs: what fails, what is void, and what is never a pass."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.verdict.thresholds import Check, Status
from load.arrival_rate.heartbeats import HEARTBEAT
from load.arrival_rate.run import ArrivalRateRun, End
from load.arrival_rate.thresholds import criteria
from load.arrival_rate.workload import Observations
from load.measurements.histogram import Histogram, Stage, Timings
from load.measurements.tally import Tally
from load.tests.nobody import Nobody
from load.verdict.check import Finding, RunCheck
from load.verdict.verdict import write_verdict
from load.workloads.arrival_rate import CAPACITY, FLEET_SCALE, SOAK, ArrivalRate, Percentile

PREPARED = Check("preparation", "ready", Status.PASS, "")
BROKEN_ROWS = RunCheck[ArrivalRateRun, Observations](
    "rows", "rows", lambda _run, _seen: Finding(["one is missing"], "")
)


def tally(n: int = 1000, took_s: float = 0.01, errors: int = 0, lag_s: float = 0.001, **seen: Any) -> Tally:
    counted = Tally(Timings(1.0, 10.0), planned=n, sent=n, answered=n - errors, **seen)
    for k in range(n):
        counted.timings.record(HEARTBEAT, k / 100, k / 100 + took_s, ok=k >= errors)
        counted.lag.record(lag_s)
    return counted


def finished(scenario: ArrivalRate = FLEET_SCALE, **known: Any) -> ArrivalRateRun:
    run = ArrivalRateRun(scenario, "run", 1, frozenset(), time.time(), "http://127.0.0.1:1", preparation=PREPARED)
    return replace(run, **known)


def concluded(run: ArrivalRateRun, directory: Path, *checks: RunCheck[ArrivalRateRun, Observations]) -> dict[str, Any]:
    return write_verdict(run, criteria(run.scenario, Nobody(checks)), Observations(), time.time(), directory)


def told(
    run: ArrivalRateRun, directory: Path, *checks: RunCheck[ArrivalRateRun, Observations]
) -> tuple[str, dict[str, str], list[str]]:
    """Verdict, status by limit, reasons."""
    document = concluded(run, directory, *checks)
    return document["verdict"], {one["name"]: one["status"] for one in document["limits"]}, document["reasons"]


def test_a_run_within_all_limits_passes(tmp_path: Path) -> None:
    verdict, limits, reasons = told(finished(measured=tally()), tmp_path)
    assert (verdict, set(limits.values()), reasons) == ("pass", {"pass"}, [])


@pytest.mark.parametrize(
    "measured,limit",
    [(tally(took_s=0.06), "heartbeat p99"), (tally(n=5000, errors=1), "heartbeat error rate")],
    ids=["slow", "an error"],
)
def test_each_limit_of_the_product_fails(tmp_path: Path, measured: Tally, limit: str) -> None:
    verdict, limits, _ = told(finished(measured=measured), tmp_path)
    assert (verdict, limits[limit]) == ("fail", "fail")


@pytest.mark.parametrize(
    "measured,guard",
    [
        (tally(took_s=0.06, lag_s=0.03), "generator lag p99"),
        (tally(took_s=0.06, cpu=0.92), "generator CPU"),
        (replace(tally(took_s=0.06), planned=1030), "requests sent of plan"),
        (tally(took_s=0.06, lag_s=1.1), "requests sent of plan"),
    ],
)
def test_a_generator_in_trouble_voids_the_latencies(tmp_path: Path, measured: Tally, guard: str) -> None:
    verdict, limits, _ = told(finished(measured=measured), tmp_path)
    assert (verdict, limits[guard], limits["heartbeat p99"]) == ("inconclusive", "inconclusive", "inconclusive")


def test_strangers_on_the_cpus_excuse_a_slow_answer_but_no_error(tmp_path: Path) -> None:
    assert told(finished(measured=tally(took_s=0.06), other_cpu=0.3), tmp_path)[0] == "inconclusive"
    assert told(finished(measured=tally(took_s=0.06), other_cpu=0.2), tmp_path)[0] == "fail"
    assert told(finished(measured=tally(errors=1), other_cpu=0.3), tmp_path)[0] == "fail"
    assert told(finished(measured=tally(), other_cpu=0.9), tmp_path)[0] == "pass"


@pytest.mark.parametrize("run", [finished(), finished(measured=tally(n=0)), finished(measured=tally(n=999))])
def test_too_few_samples_are_never_a_pass(tmp_path: Path, run: ArrivalRateRun) -> None:
    assert told(run, tmp_path)[0] == "inconclusive"


def test_a_check_that_failed_fails_the_run(tmp_path: Path) -> None:
    assert told(finished(measured=tally()), tmp_path, BROKEN_ROWS)[0] == "fail"


def test_an_interrupted_run_has_one_reason_and_judges_nothing(tmp_path: Path) -> None:
    run = finished(measured=tally(took_s=9.0), interrupted=True, doubts=["interrupted"])
    verdict, limits, reasons = told(run, tmp_path)
    assert (verdict, set(limits.values()), reasons) == ("inconclusive", {"inconclusive"}, ["interrupted"])


def stage(per_s: float, *, held: bool) -> Stage:
    return Stage(per_s, per_s, 0.0, 10.0, Histogram(), held)


@pytest.mark.parametrize(
    "held,end,verdict,knee",
    [
        ([True, False], End.KNEE, "pass", "100/s"),
        ([True, False], End.GENERATOR, "pass", "at least 100/s: the generator is the limit"),
        ([True, True], End.TOP, "pass", "at least 200/s: every stage was held"),
        ([True, True], None, "inconclusive", "at least 200/s: the run was ended"),
        ([False], End.KNEE, "inconclusive", "none: no stage was held"),
        ([], None, "inconclusive", "none: no stage was held"),
    ],
)
def test_capacity_passes_when_its_end_was_reached(
    tmp_path: Path, held: list[bool], end: End | None, verdict: str, knee: str
) -> None:
    steps = [stage(100.0 * (n + 1), held=one) for n, one in enumerate(held)]
    document = concluded(finished(CAPACITY, steps=steps, end=end, measured=tally()), tmp_path)
    assert (document["verdict"], document["facts"]["knee"]) == (verdict, knee)


def test_what_the_generator_costs_is_told_of_the_run_and_of_each_stage(tmp_path: Path) -> None:
    stages = [replace(stage(100.0, held=True), generator_us=23.4), replace(stage(200.0, held=False), generator_us=19.0)]
    facts = concluded(finished(CAPACITY, steps=stages, measured=tally(cpu_s=0.05)), tmp_path)["facts"]
    assert facts["generator CPU per request, us"] == 50.0
    assert facts["generator CPU, of the machine"] == f"{0.05 / 20 / (os.cpu_count() or 1):.1%}"
    assert "generator 23 us a request" in facts["stage 100/s"]
    assert "generator 19 us a request" in facts["stage 200/s"]


def test_a_soak_without_processes_to_look_at_is_inconclusive(tmp_path: Path) -> None:
    verdict, limits, reasons = told(finished(replace(SOAK, duration_s=600.0), measured=tally()), tmp_path)
    assert verdict == "inconclusive"
    assert limits["memory growth"] == limits["more descriptors"] == "disabled"
    assert any("NEXMDM_BACKEND_PID" in reason for reason in reasons)


def test_each_kind_of_request_has_limits_of_its_own(tmp_path: Path) -> None:
    latency = (Percentile("read", 0.95, 50), Percentile("write", 0.95, 100))
    scenario, counted = replace(FLEET_SCALE, latency=latency), Tally(Timings(1.0, 10.0), planned=1000, sent=1000)
    for k in range(1000):
        kind, took_s = (("read", 0.06), ("write", 0.06))[k % 2]
        counted.timings.record(kind, k / 100, k / 100 + took_s, ok=kind == "read" or k != 1)
        counted.lag.record(0.001)
    _, limits, _ = told(finished(scenario, measured=counted), tmp_path)
    assert {name: status for name, status in limits.items() if name.startswith(("read", "write"))} == {
        "read p95": "fail",
        "write p95": "pass",
        "read error rate": "pass",
        "write error rate": "fail",
    }
