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
from load.measurements.observations import Evidence, Metrics
from load.measurements.run import Run
from load.tests.conftest import Outcome
from load.verdict.check import examine
from load.verdict.checks import QUESTIONS
from load.verdict.log_checks import telling

Spoil = Callable[[Run, Any], Any]  # Any: the parts that are None when absent are all there
ALL = frozenset({"database", "logs", "fcm", "process"})


def line(event: str, **fields: Any) -> dict[str, Any]:
    head = {"ts": "2026-11-20T10:00:00Z", "level": "INFO", "event": event, "route": "worker:dispatch"}
    return {**head, **fields}


@pytest.fixture
def seen(simulated: dict[str, Outcome]) -> tuple[Run, Evidence]:
    """A good run, with the evidence that a database and a log would have added to it."""
    outcome = simulated[""]
    assert outcome.evidence is not None
    run = replace(outcome.simulation.run, capabilities=ALL)
    run.seats, run.recorder = list(map(copy.copy, run.seats)), copy.deepcopy(run.recorder)
    evidence = replace(copy.deepcopy(outcome.evidence), absent={})
    ids = {seat.alias: seat.device_id for seat in run.seats}
    evidence.rows = [(ids[alias], number) for alias, number in run.recorder.account(run.profile.bucket_s).rows]
    evidence.downloads = [(f"token {seat.alias}", "enrollment") for seat in run.seats]
    evidence.lines = []
    for seat in run.seats:
        who = {"dispatch_request_id": seat.command_id, "device_id": seat.device_id}
        ping = {**who, "action": "ping", "request_id": f"{run.tag}-1"}
        sent = {"attempt": 1, "http_code": 200, "fcm_message_id": "m", "latency_ms": 1.5}
        evidence.lines += [
            line("dispatch.request", ts="2026-11-20T10:00:01Z", **ping, command_request_id=seat.command_id),
            line("dispatch.sent", ts="2026-11-20T10:00:02Z", **ping, **sent),
            line("action_result.ingest", ts="2026-11-20T10:00:03Z", **who, request_id=f"{seat.alias}-9", outcome="ok"),
            line("http.request", request_id=f"{run.tag}-1", status=200, method="POST", duration_ms=1.5, ip="127.0.0.1"),
        ]
    evidence.leaks = []
    return run, evidence


def test_good_evidence_passes_every_check(seen: tuple[Run, Evidence]) -> None:
    assert {check.id: check.status for check in examine(*seen, QUESTIONS)} == {q.id: Status.PASS for q in QUESTIONS}


def _sample(run: Run, **changes: Any) -> None:
    run.recorder.samples.append(replace(run.recorder.beats[0], **changes))


SPOILS: dict[str, tuple[str, Spoil]] = {
    "device not listed": ("devices-listed", lambda _, e: e.devices.pop()),
    "device listed as retired": ("devices-listed", lambda _, e: e.devices[0].update(status="retired")),
    "device never seen": ("devices-listed", lambda _, e: e.devices[0].update(last_status=None)),
    "dispatch missing": ("dispatches", lambda _, e: e.dispatches.pop()),
    "dispatch twice": ("dispatches", lambda _, e: e.dispatches.append(e.dispatches[0])),
    "dispatch that nobody asked for": (
        "dispatches",
        lambda _, e: e.dispatches.append({**e.dispatches[0], "request_id": "x"}),
    ),
    "dispatch only sent": ("dispatches", lambda _, e: e.dispatches[0].update(status="sent")),
    "dispatch of another device": ("dispatches", lambda _, e: e.dispatches[0].update(device_id="other")),
    "outcome lost": ("dispatches", lambda _, e: e.dispatches[0].update(outcome=None)),
    "message twice": ("fcm-messages", lambda _, e: e.inbox.append(e.inbox[0])),
    "message lost": ("fcm-messages", lambda _, e: e.inbox.pop()),
    "message that nobody asked for": (
        "fcm-messages",
        lambda _, e: e.inbox.append({**e.inbox[0], "data": {"request_id": "x"}}),
    ),
    "message with another id": ("fcm-messages", lambda _, e: e.inbox[0]["data"].update(request_id="x")),
    "result not taken": ("results", lambda r, _: setattr(r.seats[1], "results", [])),
    "repeat not replayed": ("results", lambda r, _: setattr(r.seats[0], "results", [r.seats[0].results[0]] * 2)),
    "repeat moves the completion": (
        "results",
        lambda r, _: setattr(r.seats[0], "results", [r.seats[0].results[0], {"replayed": True, "completed_at": "x"}]),
    ),
    "unintended dedupe": ("dedupe-answers", lambda r, _: _sample(r, deduplicated=True)),
    "answer that does not say": ("dedupe-answers", lambda r, _: _sample(r, deduplicated=None)),
    "row missing": ("heartbeat-rows", lambda _, e: e.rows.pop()),
    "row twice": ("heartbeat-rows", lambda _, e: e.rows.append(e.rows[0])),
    "row out of nowhere": ("heartbeat-rows", lambda _, e: e.rows.append((e.rows[0][0], 1))),
    "counter not counted": ("counters", lambda _, e: setattr(e, "metrics", Metrics(e.metrics.after, e.metrics.after))),
    "chain without its end": (
        "chains",
        lambda _, e: e.lines.remove(next(one for one in e.lines if one["event"] == "action_result.ingest")),
    ),
    "chain sent twice": ("chains", lambda _, e: e.lines.append(e.lines[1])),
    "chain out of order": ("chains", lambda _, e: e.lines[1].update(ts="2026-11-20T10:00:00Z")),
    "chain of another device": ("chains", lambda _, e: e.lines[1].update(device_id="other")),
    "chain loses the request id": ("chains", lambda _, e: e.lines[1].update(request_id="worker")),
    "download not recorded": ("downloads", lambda _, e: e.downloads.pop()),
    "download with another source": ("downloads", lambda _, e: e.downloads.__setitem__(0, ("t", "manual"))),
    "downloads on one token": ("downloads", lambda _, e: e.downloads.__setitem__(0, e.downloads[1])),
    "download that failed": ("apk", lambda r, _: setattr(r.seats[0], "apk_fetched", False)),
    "download that is not ours": ("downloads", lambda r, _: setattr(r.seats[0], "apk_fetched", False)),
    "error in the log": ("log-errors", lambda _, e: e.lines[0].update(level="ERROR")),
    "5xx in the log": ("log-errors", lambda _, e: e.lines[3].update(status=503)),
    "5xx answer": ("answers-5xx", lambda r, _: _sample(r, status=500)),
    "token in the log": ("log-secrets", lambda r, e: e.lines[0].update(note=f"Bearer {r.secrets[-1]}")),
    "line without its domain field": ("log-lines", lambda _, e: e.lines[1].pop("attempt")),
    "line of an unknown event": ("log-lines", lambda _, e: e.lines[3].update(event="http.reqest")),
    "token in a row": ("table-secrets", lambda _, e: e.leaks.append("table devices: a secret in clear in 1 rows")),
    "listing without its members": ("dispatches", lambda _, e: e.dispatches[0].pop("status")),
}


@pytest.mark.parametrize("name", SPOILS)
def test_check_finds(seen: tuple[Run, Evidence], name: str) -> None:
    check, spoil = SPOILS[name]
    spoil(*seen)
    found = {one.id: one for one in examine(*seen, QUESTIONS)}[check]
    assert found.status is Status.FAIL
    assert found.detail


def test_lines_behind_a_failed_check_are_told_masked_and_few(seen: tuple[Run, Evidence]) -> None:
    run, evidence = seen
    assert telling(run, evidence, examine(run, evidence, QUESTIONS)) == ""
    assert evidence.lines is not None
    evidence.lines.pop(2)
    (broken,) = {str(one["dispatch_request_id"]) for one in evidence.lines[:2]}
    told = telling(run, evidence, examine(run, evidence, QUESTIONS)).splitlines()
    assert [json.loads(one)["event"] for one in told] == ["dispatch.request", "dispatch.sent"]
    assert all(broken in one for one in told)
    evidence.lines += [line("internal.error", level="ERROR", error=run.secrets[-1])] * 30
    told = telling(run, evidence, examine(run, evidence, QUESTIONS)).splitlines()
    assert len(told) == 20
    assert json.loads(told[0])["error"] == "***"


def test_every_check_has_been_seen_failing() -> None:
    assert {check for check, _ in SPOILS.values()} == {question.id for question in QUESTIONS}


@pytest.mark.parametrize("part", ["devices", "dispatches", "metrics", "rows", "downloads", "lines", "leaks", "inbox"])
def test_absent_evidence_never_passes(seen: tuple[Run, Evidence], part: str) -> None:
    run, evidence = seen
    setattr(evidence, part, None)
    for why in (None, (Status.DISABLED, "needs it"), (Status.INCONCLUSIVE, "could not be read")):
        evidence.absent = {} if why is None else {part: why}
        for question, check in zip(QUESTIONS, examine(run, evidence, QUESTIONS), strict=True):
            if part in question.needs:
                assert check.status is (why[0] if why else Status.INCONCLUSIVE)


def test_counters_of_a_shared_deployment_are_not_compared(seen: tuple[Run, Evidence]) -> None:
    run, evidence = seen
    run.capabilities = ALL - {"process"}
    assert {one.id: one.status for one in examine(run, evidence, QUESTIONS)}["counters"] is Status.DISABLED


def test_buckets_are_not_compared_with_a_clock_that_is_not_known(seen: tuple[Run, Evidence]) -> None:
    run, evidence = seen
    run.buckets_known, run.clock_uncertainty_s = False, math.inf
    statuses = {one.id: one.status for one in examine(run, evidence, QUESTIONS)}
    assert statuses["heartbeat-rows"] is Status.DISABLED
    assert statuses["dedupe-answers"] is Status.DISABLED
    assert statuses["counters"] is Status.PASS


def test_row_that_may_or_may_not_be_there_is_inconclusive(seen: tuple[Run, Evidence]) -> None:
    run, evidence = seen
    _sample(run, sent=run.started_at + 1000, answered=run.started_at + 1000, status=0)
    statuses = {one.id: one.status for one in examine(run, evidence, QUESTIONS)}
    assert statuses["heartbeat-rows"] is Status.INCONCLUSIVE
    assert statuses["dedupe-answers"] is Status.INCONCLUSIVE


def test_beat_that_a_late_generator_sent_into_another_bucket_is_no_fault_of_the_product(
    seen: tuple[Run, Evidence],
) -> None:
    run, evidence = seen
    late = run.recorder.beats[0].intended + 3 * run.profile.bucket_s
    _sample(run, sent=late, answered=late + 0.001, deduplicated=True)
    assert {one.id: one.status for one in examine(run, evidence, QUESTIONS)}["dedupe-answers"] is Status.INCONCLUSIVE


def test_plan_without_duplicates_proves_no_dedupe(seen: tuple[Run, Evidence]) -> None:
    run, evidence = seen
    for seat in run.seats:
        seat.beats = [beat for beat in seat.beats if not beat.duplicate]
    assert {one.id: one.status for one in examine(run, evidence, QUESTIONS)}["dedupe-answers"] is Status.INCONCLUSIVE
