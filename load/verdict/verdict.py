"""From samples and evidence to verdict and artifacts, for every scenario. It asks the target nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.verdict.artifacts import Envelope, write_result, write_text, write_timelines
from harness.verdict.thresholds import Check, Judgement, Status, judge
from load.measurements.event_log import events
from load.measurements.histogram import Timings, write_latency
from load.measurements.observations import Evidence
from load.measurements.run import Run
from load.measurements.samples import Sample, samples_csv
from load.verdict.check import Question, examine
from load.verdict.log_checks import telling
from load.workloads.simulation import SCENARIOS

_ON_TIME_S = 1.0
_POINTS = 40  # of a course over time: few enough that a point of two minutes has its heartbeats

Facts = dict[str, str | int | float | bool | None]


@dataclass(frozen=True)
class Yardstick:
    """By what a kind of scenario is judged. milestones: of its devices' timelines; none: it has no timelines."""

    questions: Sequence[Question]
    judgements: Callable[[Run, Evidence], list[Judgement]]
    facts: Callable[[Run], Facts]
    milestones: Sequence[str] = ()


def spared(run: Run, timed: Sequence[Judgement], guards: Sequence[Judgement]) -> list[Judgement]:
    """Latencies, void when the generator itself was late; strangers on the CPUs excuse a failure, and no more."""

    def void(judged: Judgement, why: str) -> Judgement:
        return judged.voided(f"{judged.note}; {why}" if judged.note else why)

    late = next((guard for guard in guards if guard.status is not Status.PASS), None)
    if late is not None:
        return [void(judged, f"{late.limit.name} does not hold") for judged in timed]
    if run.strangers is not None and run.strangers >= run.profile.strangers_share:
        why = f"other programs took {run.strangers:.0%} of the CPUs meanwhile"
        return [void(judged, why) if judged.status is Status.FAIL else judged for judged in timed]
    return list(timed)


def on_time_share(samples: Sequence[Sample], planned: int) -> float | None:
    """How much of the plan was sent within a second of its time; None: nothing was planned."""
    return sum(sample.lag_ms < _ON_TIME_S * 1000 for sample in samples) / planned if planned else None


def _notes(run: Run, judged: Sequence[Judgement]) -> list[str]:
    notes = []
    if run.profile.is_quick_look:
        notes.append(f"A quick look: {run.profile.name} is {SCENARIOS[run.profile.name].plan}.")
    if run.profile.compression != 1:
        notes.append(f"This run is {run.profile.plan}. It stands for {SCENARIOS[run.profile.name].plan}.")
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


def _facts(run: Run) -> Facts:
    return {
        "target": run.target,
        "run": run.id,
        "plan": run.profile.plan,
        "devices": run.profile.devices,
        "commands completed": run.completed,
        "CPU taken by other programs": None if run.strangers is None else f"{run.strangers:.0%}",
    }


def conclude(
    run: Run, yardstick: Yardstick, evidence: Evidence | None, ended_at: float, directory: Path
) -> dict[str, Any]:
    """Judge the run and write its artifacts. Returns the document of result.json; its exit_code is the run's."""
    judged = yardstick.judgements(run, evidence or Evidence())
    if run.interrupted:
        judged = [one.voided("the run was interrupted") for one in judged]
    checks: list[Check] = [run.preparation]
    if evidence is not None:
        checks += examine(run, evidence, yardstick.questions)
    # A run that was ended, or never began, has one reason; what it could not judge is in its limits.
    cut_short = run.interrupted or run.preparation.status is not Status.PASS
    verdict = (
        judge([], [] if run.interrupted else checks, run.doubts) if cut_short else judge(judged, checks, run.doubts)
    )
    files = ["samples.csv", "latency.json", "log.jsonl"]
    samples, started_at = run.recorder.samples, run.started_at
    write_text(directory / "samples.csv", samples_csv(samples, started_at))
    interval_s = max(1.0, round((ended_at - started_at) / _POINTS))
    timings = Timings.of_samples(samples, started_at, run.profile.request_timeout_s, interval_s)
    write_latency(directory, run.profile.name, started_at, timings)
    write_text(directory / "log.jsonl", events(run, judged, checks, verdict.status.value, ended_at))
    (directory / "failures.log").unlink(missing_ok=True)  # an earlier run's
    if evidence is not None and (lines := telling(run, evidence, checks)):
        write_text(directory / "failures.log", lines)
        files.append("failures.log")
    if yardstick.milestones:
        timelines = [seat.device.timeline for seat in run.seats if seat.device]
        write_timelines(directory, run.profile.name, run.started_at, timelines, yardstick.milestones)
        files += ["timelines.json", "timelines.csv"]
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
        facts=_facts(run) | yardstick.facts(run),
        notes=_notes(run, judged),
        files=files,
    )
    return write_result(directory, envelope)
