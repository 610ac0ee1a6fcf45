"""The limits of a simulation, judged, and the figures that it tells. It asks the target nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from harness.devices.device import MILESTONES
from harness.verdict.thresholds import Judgement, Limit, percentile
from load.measurements.observations import Evidence
from load.measurements.run import Run
from load.measurements.samples import COMMAND, DUPLICATE, HEARTBEAT
from load.verdict.checks import QUESTIONS
from load.verdict.verdict import Facts, Yardstick, on_time_share, spared
from load.workloads.simulation import Limits, limits


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
    beats = run.recorder.beats
    failed = sum(not beat.ok for beat in beats) / len(beats) if beats else None
    counted = [
        wanted.heartbeat_errors.judge_value(failed, len(beats)),
        wanted.registered.judge_value(sum(seat.registered for seat in run.seats), len(run.seats)),
        *_dispatched(run, evidence, wanted),
    ]
    return [*spared(run, timed, guards), *counted, *guards]


def _guards(run: Run, wanted: Limits) -> list[Judgement]:
    beats = run.recorder.beats
    return [
        wanted.achieved.judge_value(on_time_share(beats, len(run.planned)), len(run.planned)),
        wanted.lag.judge_value(run.recorder.lag_p99_ms(HEARTBEAT, DUPLICATE), len(beats)),
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
    commands = [sample.latency_ms for sample in run.recorder.of(COMMAND) if sample.ok]
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


def _facts(run: Run) -> Facts:
    beats = [beat for beat in run.recorder.beats if beat.ok]
    latencies = [beat.latency_ms for beat in beats]
    quantiles = (0.5, 0.95, 0.99, 1.0) if latencies else ()
    shown = " / ".join(f"{percentile(latencies, q):.1f}" for q in quantiles) or None
    return {
        "beats planned / sent / answered": f"{len(run.planned)} / {len(run.recorder.beats)} / {len(beats)}",
        "intended duplicates": sum(beat.duplicate for beat in run.planned),
        "deduplicated": sum(bool(beat.deduplicated) for beat in beats),
        "heartbeat p50 / p95 / p99 / slowest, ms": shown,
        "bucket clock": f"{run.clock_source}, +-{run.clock_uncertainty_s * 1000:.1f} ms",
    }


YARDSTICK = Yardstick(QUESTIONS, judgements, _facts, MILESTONES)
