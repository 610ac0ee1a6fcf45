"""The fanout against a stand-in: a good backend passes, no broken one does. And its limits, over synthetic rounds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import gevent
import pytest

from harness.devices import seeded_fleet
from harness.settings import Target
from harness.verdict.thresholds import Check, Judgement, Status
from load.measurements import server_clock
from load.measurements.observations import Part
from load.measurements.samples import Sample
from load.simulation import fcm_delivery
from load.simulation.fanout import FanoutSimulation
from load.simulation.fanout_thresholds import judgements
from load.simulation.observer import Observations
from load.simulation.run import COMMAND, RESULT, SimulatedDevice, SimulationRun
from load.tests.fake_backend import ADMIN_KEY, StandIn
from load.verdict.verdict import write_verdict
from load.workloads.simulation import FANOUT, Fanout

SMALL = replace(
    FANOUT, devices=25, rounds=2, answer_after_s=(0.05, 0.1), message_within_s=0.6, settle_s=0.1, lag_ms=500.0
)
START = 1_000_000.0


def fan_out(standin: StandIn, directory: Path, patch: pytest.MonkeyPatch, **target: Any) -> dict[str, Any]:
    """A whole run; returns the document of result.json."""

    def dispatches() -> list[dict[str, Any]]:
        at = datetime.now(UTC)
        return [{**view, "created_at": at, "sent_at": at} for view in standin.dispatches.values()]

    patch.setattr(seeded_fleet, "seed", standin.seed)
    patch.setattr(fcm_delivery, "FcmControl", lambda _: standin)
    patch.setattr("load.simulation.observer.FcmControl", lambda _: standin)
    known = server_clock.ServerClock(time.time() - time.monotonic(), 0.0, "database")
    patch.setattr(server_clock, "from_database", lambda _: known)
    given: dict[str, Any] = {"database_url": "postgresql://x", "fcm_url": "http://fcm.test", "backend_pid": 1} | target
    engine = FanoutSimulation(
        SMALL, Target(standin.base_url, ADMIN_KEY, "secret-secret-secret", **given), standin, seed=7
    )
    patch.setattr(engine.observer, "_dispatches", dispatches)
    patch.setattr(engine.observer, "_leaks", list)
    devices = [gevent.spawn(engine.live, number, standin) for number in range(SMALL.devices)]
    engine.prepare()
    engine.conduct()
    gevent.joinall(devices, timeout=1)
    found = engine.observer.collect() if engine.run.is_ready else None
    return write_verdict(engine.run, engine.criteria, found, engine.run.clock.now(), directory)


def outcomes(document: dict[str, Any]) -> dict[str, str]:
    found = {limit["name"]: limit["status"] for limit in document["limits"]}
    return found | {check["id"]: check["status"] for check in document["checks"]}


def test_good_backend_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = fan_out(StandIn(10.0), tmp_path, monkeypatch)
    assert (document["exit_code"], document["reasons"]) == (0, [])
    found = outcomes(document)
    needs_the_log = {"chains", "log-errors", "log-lines", "log-secrets"}
    assert {name for name, status in found.items() if status == "disabled"} == needs_the_log
    assert set(found.values()) == {"pass", "disabled"}
    assert {path.name for path in tmp_path.iterdir()} == {*document["files"], "result.json", "summary.md"}


@pytest.mark.parametrize(
    "fault,caught",
    [
        ("double send", {"fcm-messages"}),
        ("loses a message", {"fcm-messages", "dispatches", "results", "commands completed"}),
        ("refuses results", {"result error rate", "answers-5xx", "commands completed"}),
    ],
)
def test_broken_backend_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, caught: set[str]) -> None:
    document = fan_out(StandIn(10.0, fault), tmp_path, monkeypatch)
    assert document["exit_code"] == 1
    found = outcomes(document)
    assert caught <= {name for name, status in found.items() if status == "fail"}
    # On a machine that is slow enough to be the reason, a percentile is inconclusive.
    assert fault != "refuses results" or found["results p95"] != "pass"


def test_backend_that_does_not_know_its_devices_proves_nothing_quick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = fan_out(StandIn(10.0, "no heartbeats"), tmp_path, monkeypatch)
    assert document["exit_code"] == 1
    assert any("25 devices were not known" in reason for reason in document["reasons"])


@pytest.mark.parametrize("missing", ["database_url", "fcm_url"])
def test_without_database_or_fcm_it_is_clearly_inconclusive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    document = fan_out(StandIn(10.0), tmp_path, monkeypatch, **{missing: None})
    assert document["exit_code"] == 2
    assert len(document["reasons"]) == 1
    assert "needs DATABASE_URL and NEXMDM_FCM_URL" in document["reasons"][0]


def rounds(
    *latencies_ms: Sequence[float], accepted_ms: float = 50.0, sent_s: float = 2.0, lag_ms: float = 0.0
) -> tuple[SimulationRun, Observations]:
    """One round of a thousand devices per sequence of latencies, which repeats."""
    run = SimulationRun(FANOUT, "x", 1, frozenset(), START, preparation=Check("preparation", "p", Status.PASS))
    evidence = Observations(dispatches=Part([]))
    for number, cycle in enumerate(latencies_ms, 1):
        at = START + 100 * number
        command = f"{run.tag}-{number}"
        run.samples.add(Sample(COMMAND, command, at, at, at + accepted_ms / 1000, 200))
        created = datetime.fromtimestamp(at, UTC)
        for device in range(FANOUT.devices):
            run.devices.append(SimulatedDevice(f"F{device}", ""))
            due, took_ms = at + 2, cycle[device % len(cycle)]
            run.samples.add(
                Sample(RESULT, f"F{device}", due, due + lag_ms / 1000, due + took_ms / 1000, 200 if took_ms else 0)
            )
            sent_at = created + timedelta(seconds=sent_s)
            view = {"command_request_id": command, "status": "completed", "created_at": created, "sent_at": sent_at}
            assert evidence.dispatches.value is not None
            evidence.dispatches.value.append(view)
    return run, evidence


def judged(run: SimulationRun, evidence: Observations) -> dict[str, Judgement]:
    return {one.limit.name: one for one in judgements(run, evidence)}


def test_good_rounds_pass_every_limit() -> None:
    assert {one.status for one in judged(*rounds([20.0], [20.0], [20.0])).values()} == {Status.PASS}


def test_slowest_round_decides_and_is_named() -> None:
    found = judged(*rounds([20.0], [20.0] * 9 + [320.0], [30.0]))
    assert found["results p95"].observed == pytest.approx(320.0)
    assert (found["results p95"].status, found["results p95"].note) == (Status.FAIL, "round 2 of 3")
    assert (found["results p99"].status, found["results p99"].note) == (Status.PASS, "round 2 of 3")
    assert judged(*rounds([20.0], [20.0] * 49 + [601.0]))["results p99"].status is Status.FAIL


def test_command_that_takes_long_fails() -> None:
    assert judged(*rounds([20.0], accepted_ms=201.0))["command accepted"].status is Status.FAIL


def test_sends_that_take_long_or_never_end_fail() -> None:
    assert judged(*rounds([20.0], sent_s=5.1))["FCM sends done"].status is Status.FAIL
    run, evidence = rounds([20.0], [20.0])
    assert evidence.dispatches.value is not None
    evidence.dispatches.value[-1]["sent_at"] = None
    found = judged(run, evidence)
    assert (found["FCM sends done"].status, found["FCM sends done"].note) == (Status.FAIL, "round 2 of 2")
    assert found["commands sent"].status is Status.FAIL


def test_lost_results_are_errors_and_never_quick() -> None:
    found = judged(*rounds([20.0] * 9 + [0.0]))
    assert (found["result error rate"].status, found["results p95"].status) == (Status.FAIL, Status.FAIL)


def test_late_generator_blames_nobody() -> None:
    found = judged(*rounds([400.0], lag_ms=60.0))
    assert found["results p95"].status is Status.INCONCLUSIVE
    assert Status.FAIL not in {one.status for one in found.values()}


def test_nothing_done_is_inconclusive() -> None:
    assert {one.status for one in judged(*rounds()).values()} == {Status.INCONCLUSIVE}


@pytest.mark.parametrize("wrong", [{"devices": 19}, {"devices": 1001}, {"rounds": 0}])
def test_scenario_that_could_not_work_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Fanout(**wrong)  # type: ignore[arg-type]  # parametrised
