"""From samples and evidence to limits, verdict and artifacts. It deliberately asks the target nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.budgets import Check, Judgement, Limit, Status, judge, percentile
from harness.device import MILESTONES
from harness.report import Envelope, write_result, write_text, write_timelines
from load.checks import QUESTIONS
from load.evidence import Evidence
from load.examine import examine
from load.journal import events
from load.profiles import PROFILES, Limits, limits
from load.recorder import DUPLICATE, HEARTBEAT, samples_csv
from load.seats import Run

_ON_TIME_S = 1.0
FILES = ("samples.csv", "timelines.json", "timelines.csv", "log.jsonl")


def judgements(run: Run, evidence: Evidence) -> list[Judgement]:
    """Every limit of the profile, judged. Latencies are void when the generator itself was late."""
    wanted = limits(run.profile, len(run.planned))
    guards = _guards(run, wanted)
    latencies = run.recorder.latencies(run.profile.request_timeout_s, HEARTBEAT, DUPLICATE)
    scrapes = run.recorder.latencies(run.profile.request_timeout_s, "metrics")
    timed = [
        wanted.heartbeat_p95.judge(latencies),
        wanted.heartbeat_p99.judge(latencies),
        _dispatch_write(run, evidence, wanted.dispatch_write),
        _fcm_dispatch(evidence, wanted.fcm_dispatch),
        wanted.metrics_scrape.judge(scrapes),
    ]
    late = next((guard for guard in guards if guard.status is not Status.PASS), None)
    if late is not None:
        timed = [judged.voided(f"{late.limit.name} does not hold") for judged in timed]
    if run.strangers is not None and run.strangers >= run.profile.strangers_share:
        why = f"other programs took {run.strangers:.0%} of the CPUs meanwhile"
        timed = [judged.voided(why) if judged.status is Status.FAIL else judged for judged in timed]
    beats = run.recorder.beats
    failed = sum(not beat.ok for beat in beats) / len(beats) if beats else None
    counted = [
        wanted.heartbeat_errors.judge_value(failed, len(beats)),
        wanted.registered.judge_value(sum(seat.registered for seat in run.seats), len(run.seats)),
        *_dispatched(run, evidence, wanted),
    ]
    judged = [*timed, *counted, *guards]
    return [one.voided("the run was interrupted") for one in judged] if run.interrupted else judged


def _guards(run: Run, wanted: Limits) -> list[Judgement]:
    beats = run.recorder.beats
    on_time = sum(beat.lag_ms < _ON_TIME_S * 1000 for beat in beats)
    share = on_time / len(run.planned) if run.planned else None
    return [
        wanted.achieved.judge_value(share, len(run.planned)),
        wanted.lag.judge_value(run.recorder.lag_p99_ms(), len(beats)),
    ]


def _dispatch_write(run: Run, evidence: Evidence, limit: Limit) -> Judgement:
    """The server's own measure from its log; without one the whole of /admin/command, which the write is a part of."""
    if evidence.lines is not None:
        samples = [
            float(line["latency_ms"])
            for line in evidence.lines
            if line.get("event") == "db_operation"
            and (line.get("operation"), line.get("entity")) == ("create", "fcm_dispatches")
            and str(line.get("request_id")).startswith(run.tag)
        ]
        return replace(limit, source="log: db_operation create fcm_dispatches").judge(samples)
    commands = [sample.latency_ms for sample in run.recorder.of("command") if sample.ok]
    return replace(limit, source="client: all of /admin/command, an upper bound").judge(commands)


def _fcm_dispatch(evidence: Evidence, limit: Limit) -> Judgement:
    views = evidence.dispatches or []
    return limit.judge([(_at(v["sent_at"]) - _at(v["created_at"])) * 1000 for v in views if v["sent_at"]])


def _dispatched(run: Run, evidence: Evidence, wanted: Limits) -> list[Judgement]:
    views = evidence.dispatches
    if views is None:
        return [limit.judge_value(None, 0) for limit in (wanted.sent, wanted.completed)]
    ours = {seat.command_id for seat in run.commanded}
    mine = [view for view in views if view["request_id"] in ours]
    sent = wanted.sent.judge_value(len({v["request_id"] for v in mine if v["sent_at"]}), run.profile.devices)
    done = len({v["request_id"] for v in mine if v["status"] == "completed"})
    if "fcm" not in run.capabilities:
        sent = wanted.sent.disabled("needs a fake FCM: a real one does not take made-up tokens")
    return [sent, wanted.completed.judge_value(done, run.profile.devices)]


def _at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _notes(run: Run, judged: Sequence[Judgement]) -> list[str]:
    notes = []
    if run.profile.is_quick_look:
        whole = PROFILES[run.profile.name]
        notes.append(f"A quick look: {whole.name} is {whole.devices} devices and {whole.duration_s:g} s.")
    few = [one for one in judged if one.status is Status.PASS and one.limit.needed_n <= one.n < one.limit.full_n]
    if few:
        listed = ", ".join(f"{one.limit.name} {one.n} of {one.limit.full_n}" for one in few)
        notes.append(
            f"Fewer samples than the percentile wants: {listed}. To pass, not one sample may be beyond the limit; a"
            f" server exactly at it would still manage that with a probability of {_luck(few)}."
        )
    if "fcm" not in run.capabilities:
        notes.append("No control of a fake FCM: the devices were told of their commands directly (seed 000 B.4).")
    if run.refusals:
        notes.append(f"Refused or lost calls: {len(run.refusals)}, the first: {run.refusals[0]}")
    return notes


def _luck(few: Sequence[Judgement]) -> str:
    """How probable such a pass is when the true percentile lies exactly at the limit: q to the power of n."""
    return ", ".join(f"{(one.limit.quantile or 1) ** one.n:.1%}" for one in few)


def _facts(run: Run) -> dict[str, str | int | float | bool | None]:
    beats = [beat for beat in run.recorder.beats if beat.ok]
    latencies = [beat.latency_ms for beat in beats]
    quantiles = (0.5, 0.95, 0.99, 1.0) if latencies else ()
    shown = " / ".join(f"{percentile(latencies, q):.1f}" for q in quantiles) or None
    return {
        "target": run.target,
        "run": run.id,
        "devices": run.profile.devices,
        "duration, s": run.profile.duration_s,
        "beats planned / sent / answered": f"{len(run.planned)} / {len(run.recorder.beats)} / {len(beats)}",
        "intended duplicates": sum(beat.duplicate for beat in run.planned),
        "deduplicated": sum(bool(beat.deduplicated) for beat in beats),
        "commands completed": run.completed,
        "heartbeat p50 / p95 / p99 / slowest, ms": shown,
        "CPU taken by other programs": None if run.strangers is None else f"{run.strangers:.0%}",
        "bucket clock": f"{run.clock_source}, +-{run.clock_uncertainty_s * 1000:.1f} ms",
    }


def conclude(run: Run, evidence: Evidence | None, ended_at: float, directory: Path) -> dict[str, Any]:
    """Judge the run and write its artifacts. Returns the document of result.json; its exit_code is the run's."""
    found = evidence or Evidence()
    judged = judgements(run, found)
    checks: list[Check] = [run.preparation]
    if evidence is not None:
        checks += examine(run, evidence, QUESTIONS)
    # A run that was ended, or never began, has one reason; what it could not judge is in its limits.
    cut_short = run.interrupted or run.preparation.status is not Status.PASS
    verdict = (
        judge([], [] if run.interrupted else checks, run.doubts) if cut_short else judge(judged, checks, run.doubts)
    )
    timelines = [seat.device.timeline for seat in run.seats if seat.device]
    write_text(directory / "samples.csv", samples_csv(run.recorder.samples, run.started_at))
    journal = events(run, judged, checks, verdict.status.value, ended_at)
    write_text(directory / "log.jsonl", journal)
    write_timelines(directory, run.profile.name, run.started_at, timelines, MILESTONES)
    envelope = Envelope(
        suite=run.profile.name,
        started_at=run.started_at,
        ended_at=ended_at,
        verdict=verdict,
        judgements=judged,
        checks=checks,
        seed=run.seed,
        versions={name: version(name) for name in ("locust", "gevent")},
        capabilities=run.capabilities,
        facts=_facts(run),
        notes=_notes(run, judged),
        files=FILES,
    )
    return write_result(directory, envelope)
