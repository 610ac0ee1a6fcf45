"""The limits of a simulation, judged, and what it tells beside them.

Sources: seed 000 B (error limit); the latencies stand in the scenario. How a percentile is judged when a short run
cannot have its 10 / (1 - p) samples: see harness/verdict/thresholds.py.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from harness.devices.device import MILESTONES
from harness.verdict.artifacts import write_text, write_timelines
from harness.verdict.thresholds import Check, Judgement, Limit, percentile
from load.measurements.samples import samples_csv
from load.simulation.checks import CHECKS
from load.simulation.log_checks import telling
from load.simulation.observer import Observations
from load.simulation.run import COMMAND, DUPLICATE, HEARTBEAT, SimulationRun
from load.verdict.guards import CLIENT, LEAST_SAMPLES, lag_limit, least, on_time_share, sent_limit, voided_by
from load.verdict.verdict import Criteria, Facts
from load.workloads import catalogue


def judgements(run: SimulationRun, seen: Observations | None) -> list[Judgement]:
    """Every limit of a run of this size, judged. Latencies are void when the generator itself was late."""
    seen = seen or Observations()
    samples, timeout_s, planned = run.samples, run.scenario.request_timeout_s, len(run.planned)
    guards = [
        sent_limit().judge_value(on_time_share(run.heartbeats, planned), planned),
        lag_limit(run.scenario).judge_value(samples.lag_p99_ms(HEARTBEAT, DUPLICATE), len(run.heartbeats)),
    ]
    limits_ms = run.scenario.limits_ms
    p95 = Limit("heartbeat p95", "ms", "<", limits_ms.heartbeat_p95, least(0.95, planned), 0.95, source=CLIENT)
    p99 = Limit("heartbeat p99", "ms", "<", limits_ms.heartbeat_p99, least(0.99, planned), 0.99, source=CLIENT)
    latencies = samples.latencies(timeout_s, HEARTBEAT, DUPLICATE)
    scrapes = Limit("/metrics p95", "ms", "<", limits_ms.metrics_p95, None, 0.95, source=CLIENT)
    timed = [
        p95.judge(latencies),
        p99.judge(latencies),
        _dispatch_write(run, seen),
        _fcm_dispatch(run, seen),
        scrapes.judge(samples.latencies(timeout_s, "metrics")),
    ]
    failed = [not sample.ok for sample in run.heartbeats]
    errors = Limit("heartbeat error rate", "", "<", 0.01, least(0.95, planned), source="client: not 200, or no answer")
    registered = _every(run, "devices registered", "answers of /v1/register")
    counted = [
        errors.judge_value(sum(failed) / len(failed) if failed else None, len(failed)),
        registered.judge_value(sum(device.registered for device in run.devices), len(run.devices)),
        *_dispatched(run, seen),
    ]
    return [*voided_by(run, timed, guards), *counted, *guards]


def _every(run: SimulationRun, name: str, source: str) -> Limit:
    return Limit(name, "devices", "==", run.scenario.devices, source=source)


def _dispatch_write(run: SimulationRun, seen: Observations) -> Judgement:
    """The server's own measure from its log; without one the whole of /admin/command, which the write is a part of."""
    below = run.scenario.limits_ms.dispatch_write_p95
    limit = Limit("dispatch write p95", "ms", "<", below, min(run.scenario.devices, LEAST_SAMPLES), 0.95)
    if seen.lines.value is not None:
        samples = [
            float(line["latency_ms"])
            for line in seen.lines.value
            if line.get("event") == "db_operation"
            and (line.get("operation"), line.get("entity")) == ("create", "fcm_dispatches")
            and str(line.get("request_id")).startswith(run.tag)
        ]
        return replace(limit, source="log: db_operation create fcm_dispatches").judge(samples)
    commands = [sample.latency_ms for sample in run.samples.of(COMMAND) if sample.ok]
    return replace(limit, source="client: all of /admin/command, an upper bound").judge(commands)


def _fcm_dispatch(run: SimulationRun, seen: Observations) -> Judgement:
    below = run.scenario.limits_ms.fcm_dispatch
    limit = Limit("FCM dispatch, slowest", "ms", "<", below, 1, 1.0, source="dispatch: sent_at - created_at")
    views = seen.dispatches.value or []
    return limit.judge([(_at(v["sent_at"]) - _at(v["created_at"])) * 1000 for v in views if v["sent_at"]])


def _dispatched(run: SimulationRun, seen: Observations) -> list[Judgement]:
    wanted_sent = _every(run, "commands sent", "/admin/dispatches: sent_at")
    wanted_completed = _every(run, "commands completed", "/admin/dispatches: status")
    views = seen.dispatches.value
    if views is None:
        return [limit.judge_value(None, 0) for limit in (wanted_sent, wanted_completed)]
    ours = {device.command_id for device in run.commanded}
    mine = [view for view in views if view["request_id"] in ours]
    sent = wanted_sent.judge_value(len({v["request_id"] for v in mine if v["sent_at"]}), run.scenario.devices)
    done = len({v["request_id"] for v in mine if v["status"] == "completed"})
    if "fcm" not in run.capabilities:
        sent = wanted_sent.disabled("needs a fake FCM: a real one does not take made-up tokens")
    return [sent, wanted_completed.judge_value(done, run.scenario.devices)]


def _at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _facts(run: SimulationRun) -> Facts:
    good = [sample for sample in run.heartbeats if sample.ok]
    latencies = [sample.latency_ms for sample in good]
    quantiles = (0.5, 0.95, 0.99, 1.0) if latencies else ()
    return {
        "heartbeats planned / sent / answered": f"{len(run.planned)} / {len(run.heartbeats)} / {len(good)}",
        "intended duplicates": sum(heartbeat.duplicate for heartbeat in run.planned),
        "deduplicated": sum(bool(sample.deduplicated) for sample in good),
        "heartbeat p50 / p95 / p99 / slowest, ms": " / ".join(f"{percentile(latencies, q):.1f}" for q in quantiles)
        or None,
        "commands completed": run.completed,
    }


def notes(run: SimulationRun) -> list[str]:
    """What a reader must know of the run."""
    told = catalogue.notes(run.scenario)
    if "fcm" not in run.capabilities:
        told.append("No control of a fake FCM: the devices were told of their commands directly (seed 000 B.4).")
    return told


def write_samples(run: SimulationRun, seen: Observations | None, checks: list[Check], directory: Path) -> list[str]:
    """samples.csv, and failures.log where log lines stand behind a failed check. Returns the names."""
    write_text(directory / "samples.csv", samples_csv(run.samples.all, run.started_at))
    (directory / "failures.log").unlink(missing_ok=True)  # an earlier run's
    if seen is None or not (lines := telling(run, seen, checks)):
        return ["samples.csv"]
    write_text(directory / "failures.log", lines)
    return ["samples.csv", "failures.log"]


def _files(run: SimulationRun, seen: Observations | None, checks: list[Check], directory: Path) -> list[str]:
    timelines = [device.client.timeline for device in run.devices if device.client]
    write_timelines(directory, run.scenario.name, run.started_at, timelines, MILESTONES)
    return [*write_samples(run, seen, checks, directory), "timelines.json", "timelines.csv"]


CRITERIA = Criteria(CHECKS, judgements, _facts, notes, _files)
