"""Verdicts over synthetic samples: too few, too slow, too late, none at all. No server and no time takes part."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.verdict.thresholds import Check, Judgement, Status
from load.measurements.observations import Part
from load.measurements.samples import Sample
from load.simulation.observer import Observations
from load.simulation.run import HEARTBEAT, SimulatedDevice, SimulationRun
from load.simulation.schedule import Heartbeat
from load.simulation.thresholds import CRITERIA, judgements
from load.verdict.verdict import write_verdict
from load.workloads.simulation import FLEET100, SIM20, Profile

START = 1_000_000.0


def make_run(
    latencies_ms: Iterable[float], *, lag_ms: float = 0.0, planned: int | None = None, **changes: Any
) -> SimulationRun:
    """A run of 20 registered devices whose beats took this long."""
    run = SimulationRun(SIM20, "x", 1, frozenset({"fcm"}), START, preparation=Check("preparation", "p", Status.PASS))
    run.devices = [SimulatedDevice(f"D{n:02d}", "t", registered=True, command_id=f"cmd_{n}") for n in range(20)]
    for number, latency_ms in enumerate(latencies_ms):
        at = START + number
        beat = Sample(HEARTBEAT, "D01", at, at + lag_ms / 1000, at + latency_ms / 1000, 200, deduplicated=False)
        run.samples.add(beat)
    run.devices[0].heartbeats = [Heartbeat(START)] * (len(run.samples.all) if planned is None else planned)
    for kind, count in (("metrics", 250), ("command", 20)):
        for at in range(int(START), int(START) + count):
            run.samples.add(Sample(kind, "admin", at, at, at + 0.005, 200))
    for name, value in changes.items():
        setattr(run, name, value)
    return run


def dispatched(after_s: float = 0.02) -> Observations:
    times = {"created_at": "2026-11-20T10:00:00Z", "sent_at": f"2026-11-20T10:00:{after_s:09.6f}Z"}
    views = [{"request_id": f"cmd_{n}", "status": "completed", **times} for n in range(20)]
    return Observations(dispatches=Part(views))


def judged(run: SimulationRun, evidence: Observations | None = None) -> dict[str, Judgement]:
    return {one.limit.name: one for one in judgements(run, evidence or dispatched())}


def statuses(run: SimulationRun, evidence: Observations | None = None) -> dict[str, Status]:
    return {name: one.status for name, one in judged(run, evidence).items()}


def test_good_run_passes_every_limit() -> None:
    assert set(statuses(make_run([10.0] * 230)).values()) == {Status.PASS}


def test_run_without_samples_is_inconclusive(tmp_path: Path) -> None:
    run = SimulationRun(SIM20, "x", 1, frozenset(), START, preparation=Check("preparation", "p", Status.PASS))
    document = write_verdict(run, CRITERIA, None, START, tmp_path)
    assert (document["verdict"], document["exit_code"]) == ("inconclusive", 2)
    assert {limit["status"] for limit in document["limits"]} <= {"inconclusive", "disabled"}
    assert json.loads((tmp_path / "result.json").read_text())["exit_code"] == 2


def test_each_heartbeat_limit_can_fail() -> None:
    assert statuses(make_run([10.0] * 218 + [200.0] * 12))["heartbeat p95"] is Status.FAIL
    assert statuses(make_run([10.0] * 227 + [301.0] * 3))["heartbeat p99"] is Status.FAIL


def test_single_outlier_leaves_p99_open_and_p95_passed() -> None:
    found = statuses(make_run([10.0] * 229 + [301.0]))
    assert (found["heartbeat p95"], found["heartbeat p99"]) == (Status.PASS, Status.INCONCLUSIVE)


def test_beats_that_were_planned_and_not_sent_make_it_inconclusive() -> None:
    found = statuses(make_run([10.0] * 200, planned=230))
    assert found["requests sent of plan"] is Status.INCONCLUSIVE
    assert found["heartbeat p95"] is Status.INCONCLUSIVE
    assert Status.FAIL not in found.values()


def test_late_generator_blames_nobody() -> None:
    found = statuses(make_run([400.0] * 230, lag_ms=60.0))
    assert found["generator lag p99"] is Status.INCONCLUSIVE
    assert found["heartbeat p95"] is Status.INCONCLUSIVE
    assert Status.FAIL not in found.values()


def test_beats_sent_too_late_do_not_count_as_sent() -> None:
    assert statuses(make_run([10.0] * 230, lag_ms=1500.0))["requests sent of plan"] is Status.INCONCLUSIVE


def test_slow_dispatch_fails_by_its_slowest() -> None:
    evidence = dispatched()
    assert evidence.dispatches.value is not None
    evidence.dispatches.value[7]["sent_at"] = "2026-11-20T10:00:00.250Z"
    assert statuses(make_run([10.0] * 230), evidence)["FCM dispatch, slowest"] is Status.FAIL


def test_device_short_fails_the_count() -> None:
    run = make_run([10.0] * 230)
    run.devices[3].registered = False
    assert statuses(run)["devices registered"] is Status.FAIL


def test_dispatch_short_fails_the_counts() -> None:
    evidence = dispatched()
    assert evidence.dispatches.value is not None
    evidence.dispatches.value[0]["status"] = "sent"
    evidence.dispatches.value[1]["sent_at"] = None
    found = statuses(make_run([10.0] * 230), evidence)
    assert (found["commands completed"], found["commands sent"]) == (Status.FAIL, Status.FAIL)


def test_sent_is_disabled_without_a_fake_fcm() -> None:
    run = make_run([10.0] * 230, capabilities=frozenset())
    assert statuses(run)["commands sent"] is Status.DISABLED


def test_dispatch_write_is_taken_from_the_log_where_there_is_one() -> None:
    fields = {"event": "db_operation", "operation": "create", "entity": "fcm_dispatches", "request_id": "sim20-x-D01"}
    foreign = {**fields, "request_id": "other", "latency_ms": 900}
    evidence = dispatched()
    evidence.lines = Part([{**fields, "latency_ms": 60.0}] * 20 + [foreign] * 20)
    found = judged(make_run([10.0] * 230), evidence)["dispatch write p95"]
    assert (found.status, found.observed, found.n) == (Status.FAIL, 60.0, 20)


def test_interrupted_run_is_inconclusive_whatever_it_saw(tmp_path: Path) -> None:
    for latency_ms in (10.0, 900.0):
        run = make_run([latency_ms] * 230, interrupted=True, doubts=["interrupted"])
        document = write_verdict(run, CRITERIA, None, START + 60, tmp_path)
        assert (document["exit_code"], document["reasons"]) == (2, ["interrupted"])


def test_doubt_keeps_a_good_run_from_passing(tmp_path: Path) -> None:
    run = make_run([10.0] * 230, doubts=["D03: the harness broke"])
    assert write_verdict(run, CRITERIA, dispatched(), START + 60, tmp_path)["verdict"] != "pass"


def test_few_samples_are_said_in_the_artifact(tmp_path: Path) -> None:
    document = write_verdict(make_run([10.0] * 230), CRITERIA, dispatched(), START + 60, tmp_path)
    limit = next(one for one in document["limits"] if one["name"] == "heartbeat p99")
    assert (limit["n"], limit["min_n"], limit["full_n"]) == (230, 225, 1000)
    assert any("heartbeat p99 230 of 1000" in note for note in document["notes"])


def test_quick_look_says_so(tmp_path: Path) -> None:
    run = make_run([10.0] * 60, scenario=Profile(duration_s=30.0))
    document = write_verdict(run, CRITERIA, dispatched(), START + 60, tmp_path)
    assert document["notes"][0].startswith("A quick look: sim20 is 20 devices, a heartbeat every 10-15 s for 120 s")
    assert next(one for one in document["limits"] if one["name"] == "heartbeat p95")["min_n"] == 58


def test_compressed_run_says_so_and_is_no_quick_look(tmp_path: Path) -> None:
    run = make_run([10.0] * 480, scenario=FLEET100.compressed(10))
    document = write_verdict(run, CRITERIA, dispatched(), START + 60, tmp_path)
    assert document["facts"]["plan"] == "100 devices, a heartbeat every 11-13 s for 60 s, compressed 10 times"
    assert any(
        note.endswith("stands for 100 devices, a heartbeat every 116-124 s for 600 s.") for note in document["notes"]
    )
    assert not any("quick look" in note for note in document["notes"])


def test_log_lines_behind_a_failure_stand_beside_it_and_not_beside_the_next_run(tmp_path: Path) -> None:
    found = dispatched()
    found.lines = Part(
        [{"ts": "2026-11-20T10:00:00Z", "level": "ERROR", "event": "internal.error", "request_id": "sim20-x"}]
    )
    document = write_verdict(make_run([10.0] * 230), CRITERIA, found, START + 60, tmp_path)
    assert "failures.log" in document["files"]
    assert "internal.error" in (tmp_path / "failures.log").read_text()
    document = write_verdict(make_run([10.0] * 230), CRITERIA, None, START + 60, tmp_path)
    assert "failures.log" not in document["files"]
    assert not (tmp_path / "failures.log").exists()


def test_slowness_on_a_machine_that_others_hold_blames_nobody_and_passes_nothing() -> None:
    slow = make_run([400.0] * 230, other_cpu=0.4)
    assert statuses(slow)["heartbeat p95"] is Status.INCONCLUSIVE
    slow.samples.all = [replace(sample, status=500) for sample in slow.samples.all]
    assert statuses(slow)["heartbeat error rate"] is Status.FAIL


def test_strangers_neither_undo_a_pass_nor_excuse_below_their_share() -> None:
    assert set(statuses(make_run([10.0] * 230, other_cpu=0.9)).values()) == {Status.PASS}
    for share in (None, 0.0, 0.24):
        assert statuses(make_run([400.0] * 230, other_cpu=share))["heartbeat p95"] is Status.FAIL
