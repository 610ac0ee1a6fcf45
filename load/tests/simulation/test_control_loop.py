"""Whole simulations against a stand-in: a good backend passes, no broken one does. Real latencies are no subject."""

from __future__ import annotations

import csv
import json
from collections import Counter

import pytest

from harness.oracles import log_schemas
from load.tests.conftest import Outcome

Simulated = dict[str, Outcome]


def test_good_backend_passes(simulated: Simulated) -> None:
    outcome = simulated[""]
    assert (outcome.document["verdict"], outcome.document["reasons"]) == ("pass", [])
    assert outcome.document["exit_code"] == 0
    assert outcome.document["facts"]["generator CPU per request, us"] > 1


def test_what_could_not_be_looked_at_is_disabled_and_not_passed(simulated: Simulated) -> None:
    outcome = simulated[""]
    disabled = {check["id"] for check in outcome.document["checks"] if check["status"] == "disabled"}
    looks_inside = {"heartbeat-rows", "downloads", "table-secrets", "chains", "log-errors", "log-lines", "log-secrets"}
    assert disabled == looks_inside


def test_every_planned_beat_was_sent_at_its_time(simulated: Simulated) -> None:
    run = simulated[""].simulation.run
    assert sorted(sample.intended for sample in run.heartbeats) == sorted(heartbeat.at for heartbeat in run.planned)
    assert all(sample.sent >= sample.intended - 0.001 for sample in run.heartbeats)


def test_artifacts_tell_each_device_s_story(simulated: Simulated) -> None:
    outcome = simulated[""]
    names = sorted(path.name for path in outcome.directory.iterdir())
    assert names == sorted([*outcome.document["files"], "result.json", "summary.md"])
    assert {"latency.json", "log.jsonl", "samples.csv", "timelines.csv", "timelines.json"} <= set(names)
    rows = list(csv.DictReader((outcome.directory / "timelines.csv").read_text().splitlines()))
    assert len(rows) == 12
    for row in rows:
        times = [float(row[f"{name}_ms"]) for name in ("registered", "command", "message", "result")]
        assert times[0] < times[1] < times[3]
        assert row["heartbeat_ms"]
    assert json.loads((outcome.directory / "timelines.json").read_text())["devices"][0]["device_id"]


def test_latencies_of_every_kind_are_told_whole(simulated: Simulated) -> None:
    outcome = simulated["no heartbeats"]
    kinds = {kind["kind"]: kind for kind in json.loads((outcome.directory / "latency.json").read_text())["kinds"]}
    samples = outcome.simulation.run.samples.all
    assert {name: kind["n"] for name, kind in kinds.items()} == Counter(sample.kind for sample in samples)
    beats = kinds["heartbeat"]
    assert beats["errors"] == beats["n"] > 0
    assert min(ms for _, ms in beats["percentiles"]) >= 1000 * outcome.simulation.run.scenario.request_timeout_s
    assert sum(point["n"] for point in beats["series"]) == beats["n"]


def test_its_own_events_are_as_their_schemas_say(simulated: Simulated) -> None:
    lines = [json.loads(line) for line in (simulated[""].directory / "log.jsonl").read_text().splitlines()]
    assert {line["event"] for line in lines} == {
        f"acceptance.{name}" for name in ("phase", "limit", "check", "verdict")
    }
    assert list(log_schemas.judge(lines)) == []


@pytest.mark.parametrize(
    "fault,check",
    [
        ("no dedupe", "dedupe-answers"),
        ("double send", "fcm-messages"),
        ("no heartbeats", "answers-5xx"),
        ("refuses one", "devices-listed"),
        ("spoils the APK", "apk"),
    ],
)
def test_broken_backend_fails_by_the_check_that_looks_there(simulated: Simulated, fault: str, check: str) -> None:
    outcome = simulated[fault]
    assert outcome.document["exit_code"] == 1
    assert outcome.status(check) == "fail"


def test_backend_without_heartbeats_fails_the_error_rate(simulated: Simulated) -> None:
    limits = {limit["name"]: limit for limit in simulated["no heartbeats"].document["limits"]}
    assert limits["heartbeat error rate"]["status"] == "fail"
    assert limits["heartbeat p95"]["status"] == "fail"


def test_dead_backend_never_passes(simulated: Simulated) -> None:
    outcome = simulated["dead"]
    assert outcome.document["verdict"] == "inconclusive"
    assert outcome.document["exit_code"] == 2
    assert "connection refused" in outcome.document["reasons"][0]


def test_backend_that_cannot_make_tokens_fails(simulated: Simulated) -> None:
    assert simulated["refuses tokens"].document["exit_code"] == 1


def test_token_in_the_script_fails(simulated: Simulated) -> None:
    outcome = simulated["token in script"]
    assert outcome.document["exit_code"] == 1
    assert "secret" in outcome.document["reasons"][0]


def test_events_tell_phases_and_every_outcome(simulated: Simulated) -> None:
    outcome = simulated[""]
    lines = [json.loads(line) for line in (outcome.directory / "log.jsonl").read_text().splitlines()]
    assert all({"ts", "level", "event", "request_id", "route"} <= set(line) for line in lines)
    assert {line["event"].split(".")[0] for line in lines} == {"acceptance"}
    phases = [line["phase"] for line in lines if line["event"] == "acceptance.phase"]
    assert phases[:4] == ["preparing", "enrolling", "beating", "commanding"]
    assert {line["check"] for line in lines if line["event"] == "acceptance.check"} == {
        check["id"] for check in outcome.document["checks"]
    }
    assert lines[-1]["outcome"] == "pass"
