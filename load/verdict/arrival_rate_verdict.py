"""From a run to its verdict and artifacts. It asks the target nothing, and runs nothing."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.verdict.artifacts import Envelope, write_result, write_text
from harness.verdict.thresholds import Check, Judgement, Status, judge
from load.arrival_rate.run import Run
from load.arrival_rate.schedule import HEARTBEAT
from load.measurements import process_stats
from load.measurements.histogram import Timings, write_latency
from load.measurements.tally import Tally
from load.verdict.knee import End, knee
from load.workloads.arrival_rate import FLEETS, Capacity, Fleet, Soak, limits

_ON_TIME_S = 1.0

Facts = dict[str, str | int | float | bool | None]


def conclude(run: Run, directory: Path) -> dict[str, Any]:
    """Judge the run as it stands and write its artifacts. Returns the document of result.json."""
    # Only a run that came to its end is judged; a run that did not has its reason, and no limit adds to it.
    over = run.preparation.status is Status.PASS and not run.doubts
    judged = _judgements(run) if over else []
    checks = [run.preparation, *_stages(run), *run.checks] if not run.doubts else run.checks
    if isinstance(run.fleet, Soak) and over and run.watch is None:
        run.doubts.append("what a soak is for could not be judged: needs NEXMDM_BACKEND_PID")
    files = ["latency.json"]
    write_latency(directory, run.fleet.name, run.origin, run.timings, run.stages)
    if run.watch is not None:
        write_text(directory / "resources.csv", process_stats.resources_csv(run.watch.samples))
        files.append("resources.csv")
    envelope = Envelope(
        suite=run.fleet.name,
        started_at=run.origin,
        ended_at=run.clock.now(),
        verdict=judge(judged, checks, run.doubts),
        judgements=judged,
        checks=checks,
        seed=run.seed,
        versions={name: version(name) for name in ("locust", "gevent")},
        capabilities=run.capabilities,
        facts=_facts(run),
        notes=_notes(run),
        files=files,
    )
    return write_result(directory, envelope)


def _judgements(run: Run) -> list[Judgement]:
    fleet = run.fleet
    tally = run.measured or Tally(Timings(fleet.interval_s, fleet.timeout_s))
    if isinstance(fleet, Capacity):
        return []
    wanted = limits(fleet)
    times = tally.timings.whole(HEARTBEAT)
    on_time = tally.lag.share_within(_ON_TIME_S) * tally.lag.n / tally.planned if tally.planned else None
    achieved = wanted.achieved.judge_value(on_time, tally.planned)
    errors = wanted.errors.judge_value(times.errors / times.n if times.n else None, times.n)
    if isinstance(fleet, Soak):
        return [*_growth(run, fleet), errors, achieved]
    guards = [
        achieved,
        wanted.lag.judge_value(tally.lag.percentile_ms(0.99), tally.lag.n),
        wanted.cpu.judge_value(tally.cpu, tally.sent),
    ]
    timed = [
        wanted.p95.judge_value(times.percentile_ms(0.95), times.n),
        wanted.p99.judge_value(times.percentile_ms(0.99), times.n),
    ]
    return [*_spared(run, timed, guards), errors, *guards]


def _spared(run: Run, timed: list[Judgement], guards: list[Judgement]) -> list[Judgement]:
    """Latencies, void when the generator itself was late; strangers on the CPUs excuse a failure, and no more."""
    late = next((guard for guard in guards if guard.status is not Status.PASS), None)
    if late is not None:
        return [judged.voided(f"{late.limit.name} does not hold") for judged in timed]
    if run.strangers is not None and run.strangers >= run.fleet.strangers_share:
        why = f"other programs took {run.strangers:.0%} of the CPUs meanwhile"
        return [judged.voided(why) if judged.status is Status.FAIL else judged for judged in timed]
    return timed


def _growth(run: Run, soak: Soak) -> list[Judgement]:
    samples = run.watch.samples if run.watch is not None else []
    judged = process_stats.growth(samples, soak)
    return judged if run.watch is not None else [one.limit.disabled("needs NEXMDM_BACKEND_PID") for one in judged]


def _stages(run: Run) -> list[Check]:
    if isinstance(run.fleet, Soak) and run.watch is not None:
        return [process_stats.same_processes(run.watch.samples, run.watch.trouble)]
    if not isinstance(run.fleet, Capacity) or run.preparation.status is not Status.PASS:
        return []
    held = knee(run.stages)
    reached = held is not None and run.end is not None
    why = run.end.value if run.end is not None else "not reached"
    seen = f"{sum(s.held for s in run.stages)} of {len(run.stages)} stages held; the end: {why}"
    title = "the load rose until a stage was not held"
    return [Check("knee", title, Status.PASS if reached else Status.INCONCLUSIVE, seen)]


def _facts(run: Run) -> Facts:
    facts: Facts = {
        "target": run.target,
        "run": run.id,
        "plan": run.fleet.plan,
        "warm-up, not judged": _counts(run.warm_up) if run.warm_up else "none",
        "clock": f"{run.clock.source}, +-{run.clock.uncertainty_s * 1000:.1f} ms",
        "CPU taken by other programs": None if run.strangers is None else f"{run.strangers:.0%}",
    }
    tally = run.measured
    if tally is not None:
        times = tally.timings.whole(HEARTBEAT)
        shown = " / ".join(f"{times.percentile_ms(q) or 0:.1f}" for q in (0.5, 0.95, 0.99, 1.0)) if times.n else None
        facts |= {
            "heartbeats": _counts(tally),
            "heartbeat p50 / p95 / p99 / slowest, ms": shown,
            "generator CPU, of one core": f"{tally.cpu:.0%}",
            "generator lag p99, ms": tally.lag.percentile_ms(0.99),
            "connections in use at once, one process": tally.busiest,
        }
    if isinstance(run.fleet, Capacity):
        facts |= {
            "knee": _told_knee(run),
            **{f"stage {s.offered_per_s:g}/s": _stage(run, n) for n, s in enumerate(run.stages)},
        }
    if run.watch is not None:
        slope = process_stats.slope_mib_per_h(run.watch.samples)
        facts["memory slope after the first quarter, MiB/h"] = None if slope is None else round(slope, 1)
    return facts


def _counts(tally: Tally) -> str:
    return f"{tally.planned} planned / {tally.sent} sent / {tally.answered} answered with 200"


def _told_knee(run: Run) -> str:
    held = knee(run.stages)
    if held is None:
        return "none: no stage was held"
    if run.end is End.KNEE:
        return f"{held:g}/s"
    return f"at least {held:g}/s: {run.end.value if run.end else 'the run was ended'}"


def _stage(run: Run, number: int) -> str:
    stage = run.stages[number]
    p99 = stage.times.percentile_ms(0.99)
    told = [f"p99 {p99:.1f} ms" if p99 is not None else "p99 -", f"{stage.achieved_per_s:.0f}/s"]
    return ", ".join([*told, "held" if stage.held else "not held"]) + (f": {stage.note}" if stage.note else "")


def _notes(run: Run) -> list[str]:
    notes = ["Latency is answered - intended; the histogram's cells tell at most 0.1 % too much, and never too little."]
    for tally in run.tallies:
        notes += [f"Not answered with 200: {count} times {what}" for what, count in tally.others.most_common(5)]
    if _smaller(run.fleet):
        notes.append("A quick look: smaller or shorter than the scenario is meant to be.")
    return notes


def _smaller(fleet: Fleet) -> bool:
    meant = FLEETS.get(fleet.name)
    return meant is not None and (fleet.devices < meant.devices or fleet.duration_s < meant.duration_s)
