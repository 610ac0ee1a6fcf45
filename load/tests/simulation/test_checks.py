"""Every check is shown evidence that is wrong in one place, and must say so; absent evidence is never a pass."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.verdict.thresholds import Status
from load.measurements.observations import Absent, Metrics, Part
from load.simulation.checks import CHECKS
from load.simulation.log_checks import telling
from load.simulation.observer import Observations
from load.simulation.run import SimulationRun
from load.tests.conftest import Outcome
from load.verdict.check import run_checks

Spoil = Callable[[SimulationRun, Any], Any]  # Any: the parts that are None when absent are all there
ALL = frozenset({"database", "logs", "fcm", "process"})


def line(event: str, **fields: Any) -> dict[str, Any]:
    head = {"ts": "2026-11-20T10:00:00Z", "level": "INFO", "event": event, "route": "worker:dispatch"}
    return {**head, **fields}


@pytest.fixture
def seen(simulated: dict[str, Outcome]) -> tuple[SimulationRun, Observations]:
    """A good run, with the evidence that a database and a log would have added to it."""
    outcome = simulated[""]
    assert outcome.seen is not None
    run = replace(outcome.simulation.run, capabilities=ALL)
    run.devices, run.samples = list(map(copy.copy, run.devices)), copy.deepcopy(run.samples)
    evidence = copy.deepcopy(outcome.seen)
    rows = [divmod(one, 1 << 32) for one in run.rows().sure]
    evidence.rows = Part([(run.devices[number].device_id, bucket) for number, bucket in rows])
    evidence.downloads = Part([(f"token {device.alias}", "enrollment") for device in run.devices])
    lines = []
    for device in run.devices:
        who = {"dispatch_request_id": device.command_id, "device_id": device.device_id}
        ping = {**who, "action": "ping", "request_id": f"{run.tag}-1"}
        sent = {"attempt": 1, "http_code": 200, "fcm_message_id": "m", "latency_ms": 1.5}
        lines += [
            line("dispatch.request", ts="2026-11-20T10:00:01Z", **ping, command_request_id=device.command_id),
            line("dispatch.sent", ts="2026-11-20T10:00:02Z", **ping, **sent),
            line(
                "action_result.ingest", ts="2026-11-20T10:00:03Z", **who, request_id=f"{device.alias}-9", outcome="ok"
            ),
            line("http.request", request_id=f"{run.tag}-1", status=200, method="POST", duration_ms=1.5, ip="127.0.0.1"),
        ]
    evidence.lines, evidence.leaks = Part(lines), Part([])
    return run, evidence


def test_good_evidence_passes_every_check(seen: tuple[SimulationRun, Observations]) -> None:
    assert {check.id: check.status for check in run_checks(*seen, CHECKS)} == {q.id: Status.PASS for q in CHECKS}


def _sample(run: SimulationRun, **changes: Any) -> None:
    run.samples.add(replace(run.heartbeats[0], **changes))


SPOILS: dict[str, tuple[str, Spoil]] = {
    "device not listed": ("devices-listed", lambda _, e: e.devices.value.pop()),
    "device listed as retired": ("devices-listed", lambda _, e: e.devices.value[0].update(status="retired")),
    "device never seen": ("devices-listed", lambda _, e: e.devices.value[0].update(last_status=None)),
    "dispatch missing": ("dispatches", lambda _, e: e.dispatches.value.pop()),
    "dispatch twice": ("dispatches", lambda _, e: e.dispatches.value.append(e.dispatches.value[0])),
    "dispatch that nobody asked for": (
        "dispatches",
        lambda _, e: e.dispatches.value.append({**e.dispatches.value[0], "request_id": "x"}),
    ),
    "dispatch only sent": ("dispatches", lambda _, e: e.dispatches.value[0].update(status="sent")),
    "dispatch of another device": ("dispatches", lambda _, e: e.dispatches.value[0].update(device_id="other")),
    "outcome lost": ("dispatches", lambda _, e: e.dispatches.value[0].update(outcome=None)),
    "message twice": ("fcm-messages", lambda _, e: e.inbox.value.append(e.inbox.value[0])),
    "message lost": ("fcm-messages", lambda _, e: e.inbox.value.pop()),
    "message that nobody asked for": (
        "fcm-messages",
        lambda _, e: e.inbox.value.append({**e.inbox.value[0], "data": {"request_id": "x"}}),
    ),
    "message with another id": ("fcm-messages", lambda _, e: e.inbox.value[0]["data"].update(request_id="x")),
    "result not taken": ("results", lambda r, _: setattr(r.devices[1], "results", [])),
    "repeat not replayed": ("results", lambda r, _: setattr(r.devices[0], "results", [r.devices[0].results[0]] * 2)),
    "repeat moves the completion": (
        "results",
        lambda r, _: setattr(
            r.devices[0], "results", [r.devices[0].results[0], {"replayed": True, "completed_at": "x"}]
        ),
    ),
    "unintended dedupe": ("dedupe-answers", lambda r, _: _sample(r, deduplicated=True)),
    "answer that does not say": ("dedupe-answers", lambda r, _: _sample(r, deduplicated=None)),
    "row missing": ("heartbeat-rows", lambda _, e: e.rows.value.pop()),
    "row twice": ("heartbeat-rows", lambda _, e: e.rows.value.append(e.rows.value[0])),
    "row out of nowhere": ("heartbeat-rows", lambda _, e: e.rows.value.append((e.rows.value[0][0], 1))),
    "counter not counted": (
        "counters",
        lambda _, e: setattr(e, "metrics", Part(Metrics(e.metrics.value.after, e.metrics.value.after))),
    ),
    "chain without its end": (
        "chains",
        lambda _, e: e.lines.value.remove(next(one for one in e.lines.value if one["event"] == "action_result.ingest")),
    ),
    "chain sent twice": ("chains", lambda _, e: e.lines.value.append(e.lines.value[1])),
    "chain out of order": ("chains", lambda _, e: e.lines.value[1].update(ts="2026-11-20T10:00:00Z")),
    "chain of another device": ("chains", lambda _, e: e.lines.value[1].update(device_id="other")),
    "chain loses the request id": ("chains", lambda _, e: e.lines.value[1].update(request_id="worker")),
    "download not recorded": ("downloads", lambda _, e: e.downloads.value.pop()),
    "download with another source": ("downloads", lambda _, e: e.downloads.value.__setitem__(0, ("t", "manual"))),
    "downloads on one token": ("downloads", lambda _, e: e.downloads.value.__setitem__(0, e.downloads.value[1])),
    "download that failed": ("apk", lambda r, _: setattr(r.devices[0], "apk_fetched", False)),
    "download that is not ours": ("downloads", lambda r, _: setattr(r.devices[0], "apk_fetched", False)),
    "error in the log": ("log-errors", lambda _, e: e.lines.value[0].update(level="ERROR")),
    "5xx in the log": ("log-errors", lambda _, e: e.lines.value[3].update(status=503)),
    "5xx answer": ("answers-5xx", lambda r, _: _sample(r, status=500)),
    "token in the log": ("log-secrets", lambda r, e: e.lines.value[0].update(note=f"Bearer {r.secrets[-1]}")),
    "line without its domain field": ("log-lines", lambda _, e: e.lines.value[1].pop("attempt")),
    "line of an unknown event": ("log-lines", lambda _, e: e.lines.value[3].update(event="http.reqest")),
    "token in a row": (
        "table-secrets",
        lambda _, e: e.leaks.value.append("table devices: a secret in clear in 1 rows"),
    ),
    "listing without its members": ("dispatches", lambda _, e: e.dispatches.value[0].pop("status")),
}


@pytest.mark.parametrize("name", SPOILS)
def test_check_finds(seen: tuple[SimulationRun, Observations], name: str) -> None:
    check, spoil = SPOILS[name]
    spoil(*seen)
    found = {one.id: one for one in run_checks(*seen, CHECKS)}[check]
    assert found.status is Status.FAIL
    assert found.detail


def test_lines_behind_a_failed_check_are_told_masked_and_few(seen: tuple[SimulationRun, Observations]) -> None:
    run, evidence = seen
    assert telling(run, evidence, run_checks(run, evidence, CHECKS)) == ""
    lines = evidence.lines.get()
    lines.pop(2)
    (broken,) = {str(one["dispatch_request_id"]) for one in lines[:2]}
    told = telling(run, evidence, run_checks(run, evidence, CHECKS)).splitlines()
    assert [json.loads(one)["event"] for one in told] == ["dispatch.request", "dispatch.sent"]
    assert all(broken in one for one in told)
    lines += [line("internal.error", level="ERROR", error=run.secrets[-1])] * 30
    told = telling(run, evidence, run_checks(run, evidence, CHECKS)).splitlines()
    assert len(told) == 20
    assert json.loads(told[0])["error"] == "***"


def test_every_check_has_been_seen_failing() -> None:
    assert {check for check, _ in SPOILS.values()} == {check.id for check in CHECKS}


NEEDED_BY = {
    "devices": {"devices-listed"},
    "dispatches": {"dispatches"},
    "metrics": {"counters"},
    "rows": {"heartbeat-rows"},
    "downloads": {"downloads"},
    "lines": {"chains", "log-errors", "log-lines", "log-secrets"},
    "leaks": {"table-secrets"},
    "inbox": {"fcm-messages"},
}


@pytest.mark.parametrize("part", NEEDED_BY)
def test_absent_evidence_never_passes(seen: tuple[SimulationRun, Observations], part: str) -> None:
    run, evidence = seen
    for absent in (None, Absent(Status.DISABLED, "needs it"), Absent(Status.INCONCLUSIVE, "could not be read")):
        setattr(evidence, part, Part(absent=absent))
        statuses = {check.id: check.status for check in run_checks(run, evidence, CHECKS)}
        changed = {name for name, status in statuses.items() if status is not Status.PASS}
        assert changed == NEEDED_BY[part]
        assert {statuses[name] for name in changed} == {absent.status if absent else Status.INCONCLUSIVE}


def test_counters_of_a_shared_deployment_are_not_compared(seen: tuple[SimulationRun, Observations]) -> None:
    run, evidence = seen
    run.capabilities = ALL - {"process"}
    assert {one.id: one.status for one in run_checks(run, evidence, CHECKS)}["counters"] is Status.DISABLED


def test_buckets_are_not_compared_with_a_clock_that_is_not_known(seen: tuple[SimulationRun, Observations]) -> None:
    run, evidence = seen
    run.buckets_known, run.clock = False, replace(run.clock, uncertainty_s=math.inf)
    statuses = {one.id: one.status for one in run_checks(run, evidence, CHECKS)}
    assert statuses["heartbeat-rows"] is Status.DISABLED
    assert statuses["dedupe-answers"] is Status.DISABLED
    assert statuses["counters"] is Status.PASS


def test_row_that_may_or_may_not_be_there_is_inconclusive(seen: tuple[SimulationRun, Observations]) -> None:
    run, evidence = seen
    _sample(run, sent=run.started_at + 1000, answered=run.started_at + 1000, status=0)
    statuses = {one.id: one.status for one in run_checks(run, evidence, CHECKS)}
    assert statuses["heartbeat-rows"] is Status.INCONCLUSIVE
    assert statuses["dedupe-answers"] is Status.INCONCLUSIVE


def test_beat_that_a_late_generator_sent_into_another_bucket_is_no_fault_of_the_product(
    seen: tuple[SimulationRun, Observations],
) -> None:
    run, evidence = seen
    late = run.heartbeats[0].intended + 3 * run.scenario.bucket_s
    _sample(run, sent=late, answered=late + 0.001, deduplicated=True)
    assert {one.id: one.status for one in run_checks(run, evidence, CHECKS)}["dedupe-answers"] is Status.INCONCLUSIVE


def test_plan_without_duplicates_proves_no_dedupe(seen: tuple[SimulationRun, Observations]) -> None:
    run, evidence = seen
    for device in run.devices:
        device.heartbeats = [heartbeat for heartbeat in device.heartbeats if not heartbeat.duplicate]
    assert {one.id: one.status for one in run_checks(run, evidence, CHECKS)}["dedupe-answers"] is Status.INCONCLUSIVE
