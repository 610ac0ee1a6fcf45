"""From measurements and observations to verdict and artifacts, the same for every scenario."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, TypeVar

from harness.verdict.artifacts import Envelope, write_result, write_text
from harness.verdict.thresholds import Check, Judgement, Status, judge
from load.measurements.event_log import events
from load.measurements.histogram import write_latency
from load.measurements.run import Run
from load.verdict.check import RunCheck, run_checks

RunT = TypeVar("RunT", bound=Run)
Seen = TypeVar("Seen")

Facts = dict[str, str | int | float | bool | None]


@dataclass(frozen=True)
class Criteria(Generic[RunT, Seen]):
    """By what a kind of scenario is judged, and what it tells and leaves beside that.

    thresholds: every limit, judged; observations: None: there was nothing to look at. files: writes into the directory
    and returns the names. verified: further checks, which were judged where the observations were made.
    """

    checks: Sequence[RunCheck[RunT, Seen]]
    thresholds: Callable[[RunT, Seen | None], list[Judgement]]
    facts: Callable[[RunT], Facts]
    notes: Callable[[RunT], list[str]]
    files: Callable[[RunT, Seen | None, list[Check], Path], list[str]]
    verified: Callable[[Seen], Sequence[Check]] = lambda _: ()


def write_verdict(
    run: RunT, criteria: Criteria[RunT, Seen], observations: Seen | None, ended_at: float, directory: Path
) -> dict[str, Any]:
    """Judge the run and write its artifacts. Returns the document of result.json; its exit_code is the run's."""
    judged = criteria.thresholds(run, observations)
    if run.interrupted:
        judged = [one.voided("the run was interrupted") for one in judged]
    checks = [run.preparation]
    if observations is not None:
        checks += [*run_checks(run, observations, criteria.checks), *criteria.verified(observations)]
    # A run that was ended, or never began, has one reason; what it could not judge is in its limits.
    if run.interrupted or not run.is_ready:
        verdict = judge([], [] if run.interrupted else checks, run.doubts)
    else:
        verdict = judge(judged, checks, run.doubts)
    write_latency(directory, run.scenario.name, run.started_at, run.timings(), run.stages)
    write_text(directory / "log.jsonl", events(run, judged, checks, verdict.status.value, ended_at))
    envelope = Envelope(
        suite=run.scenario.name,
        started_at=run.started_at,
        ended_at=ended_at,
        verdict=verdict,
        judgements=judged,
        checks=checks,
        seed=run.seed,
        versions={name: version(name) for name in ("locust", "gevent")},
        capabilities=run.capabilities,
        facts=_facts(run) | criteria.facts(run),
        notes=[*criteria.notes(run), *_notes(run, judged)],
        files=["latency.json", "log.jsonl", *criteria.files(run, observations, checks, directory)],
    )
    return write_result(directory, envelope)


def _facts(run: Run) -> Facts:
    cost = run.generator_cost
    return {
        "target": run.target,
        "run": run.id,
        "plan": run.scenario.plan,
        run.scenario.whom: run.scenario.devices,
        "server's clock": f"{run.clock.source}, +-{run.clock.uncertainty_s * 1000:.1f} ms",
        "CPU taken by other programs": None if run.other_cpu is None else f"{run.other_cpu:.0%}",
        **(cost.facts if cost is not None else {}),
    }


def _notes(run: Run, judged: Sequence[Judgement]) -> list[str]:
    notes = []
    few = [one for one in judged if one.status is Status.PASS and one.limit.needed_n <= one.n < one.limit.full_n]
    if few:
        listed = ", ".join(f"{one.limit.name} {one.n} of {one.limit.full_n}" for one in few)
        notes.append(
            f"Fewer samples than the percentile wants: {listed}. To pass, not one sample may be beyond the limit; a"
            f" server exactly at it would still manage that with a probability of {_luck(few)}."
        )
    if run.refusals:
        notes.append(f"Refused or lost calls: {len(run.refusals)}, the first: {run.refusals[0]}")
    return notes


def _luck(few: Sequence[Judgement]) -> str:
    """How probable such a pass is when the true percentile lies exactly at the limit: q to the power of n."""
    return ", ".join(f"{(one.limit.quantile or 1) ** one.n:.1%}" for one in few)
