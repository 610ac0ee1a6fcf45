"""The limits of a run at an arrival rate, judged, and what it tells beside them.

Sources: performance targets (100,000 devices at 120 s on two cores that the generator shares: no error). Percentiles
come from cells of three significant digits that are never too low: a p99 of 50 ms is told as 50.0 to 50.05 ms.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from harness.verdict.artifacts import write_text
from harness.verdict.thresholds import Check, Judgement, Limit, Status, minimum_samples
from load.arrival_rate import growth
from load.arrival_rate.knee import knee
from load.arrival_rate.run import ArrivalRateRun, End
from load.arrival_rate.workload import Checks, Observations, Subject
from load.measurements import process_stats
from load.measurements.histogram import Histogram, Stage, Timings
from load.measurements.tally import Tally
from load.verdict.check import Finding, RunCheck, Undecided
from load.verdict.guards import CLIENT, LEAST_SAMPLES, ON_TIME_S, lag_limit, sent_limit, voided_by
from load.verdict.verdict import Criteria, Facts
from load.workloads import catalogue
from load.workloads.arrival_rate import ArrivalRate, Capacity, Percentile, Soak

_NO_PROCESS: Final = "needs NEXMDM_BACKEND_PID"


def criteria(scenario: ArrivalRate, subject: Subject) -> Criteria[ArrivalRateRun, Observations]:
    """What every scenario of an arrival rate is judged by, and what its subject asks beside that."""
    own = _KNEE if isinstance(scenario, Capacity) else _PROCESSES if scenario.memory_growth is not None else ()
    return Criteria(
        (*own, *subject.checks),
        judgements,
        lambda run: _facts(run) | subject.facts(run),
        _notes,
        partial(_files, subject),
        subject.verified,
    )


def judgements(run: ArrivalRateRun, _: Observations | None = None) -> list[Judgement]:
    """The limits of a steady load; a rising one has none: its stages have. Percentiles are judged as values."""
    scenario = run.scenario
    if isinstance(scenario, Capacity):
        return []
    tally = run.measured or Tally(Timings(scenario.interval_s, scenario.request_timeout_s))
    on_time = tally.lag.share_within(ON_TIME_S) * tally.lag.n / tally.planned if tally.planned else None
    sent = sent_limit().judge_value(on_time, tally.planned)
    failed = [_errors(kind, tally.timings.whole(kind)) for kind in scenario.kinds]
    grown = [] if scenario.memory_growth is None else _growth(run, scenario.memory_growth, scenario.descriptors)
    if isinstance(scenario, Soak):
        return [*grown, *failed, sent]
    source = "generator: CPU time of its busiest process"
    cpu = Limit("generator CPU", "of a core", "<", scenario.cpu_share, LEAST_SAMPLES, None, Status.INCONCLUSIVE, source)
    guards = [
        sent,
        lag_limit(scenario).judge_value(tally.lag.percentile_ms(0.99), tally.lag.n),
        cpu.judge_value(tally.cpu, tally.sent),
    ]
    timed = [_latency(one, tally.timings.whole(one.kind)) for one in scenario.latency]
    return [*voided_by(run, timed, guards), *grown, *failed, *guards]


def _errors(kind: str, times: Histogram) -> Judgement:
    limit = Limit(f"{kind} error rate", "", "==", 0, LEAST_SAMPLES, source="client: not the wanted answer, or none")
    return limit.judge_value(times.errors / times.n if times.n else None, times.n)


def _latency(wanted: Percentile, times: Histogram) -> Judgement:
    name, least = f"{wanted.kind} p{wanted.q * 100:g}", minimum_samples(wanted.q)
    limit = Limit(name, "ms", "<", wanted.below_ms, least, source=CLIENT)
    return limit.judge_value(times.percentile_ms(wanted.q), times.n)


def _growth(run: ArrivalRateRun, memory: float, descriptors: int) -> list[Judgement]:
    judged = growth.growth(run.watch.samples if run.watch is not None else [], memory, descriptors)
    return judged if run.watch is not None else [one.limit.disabled(_NO_PROCESS) for one in judged]


def _knee(run: ArrivalRateRun, _: Observations) -> Finding:
    why = run.end.value if run.end is not None else "not reached"
    seen = f"{sum(s.held for s in run.steps)} of {len(run.steps)} stages held; the end: {why}"
    if knee(run.steps) is None or run.end is None:
        raise Undecided(seen)
    return Finding([], seen)


def _same_processes(run: ArrivalRateRun, _: Observations) -> Finding:
    if run.watch is None:
        raise Undecided(f"what a soak is for could not be judged: {_NO_PROCESS}")
    return growth.same_processes(run.watch.samples, run.watch.trouble)


_KNEE: Checks = (RunCheck("knee", "the load rose until a stage was not held", _knee),)
_PROCESSES: Checks = (
    RunCheck("processes", "the backend's processes are the same from beginning to end", _same_processes),
)


def _facts(run: ArrivalRateRun) -> Facts:
    facts: Facts = {"warm-up, not judged": _counts(run.warm_up) if run.warm_up else "none"}
    tally = run.measured
    if tally is not None:
        facts[run.scenario.workload] = _counts(tally)
        for kind in run.scenario.kinds:
            facts[f"{kind} p50 / p95 / p99 / slowest, ms"] = _quantiles(tally.timings.whole(kind))
        facts |= {
            "generator CPU, of one core": f"{tally.cpu:.0%}",
            "generator lag p99, ms": tally.lag.percentile_ms(0.99),
            "connections in use at once, one process": tally.busiest,
        }
    if isinstance(run.scenario, Capacity):
        facts |= {"knee": _told_knee(run), **{f"stage {s.offered_per_s:g}/s": _told(s) for s in run.steps}}
    if run.watch is not None:
        slope = growth.slope_mib_per_h(run.watch.samples)
        facts["memory slope after the first quarter, MiB/h"] = None if slope is None else round(slope, 1)
    return facts


def _quantiles(times: Histogram) -> str | None:
    return " / ".join(f"{times.percentile_ms(q) or 0:.1f}" for q in (0.5, 0.95, 0.99, 1.0)) if times.n else None


def _counts(tally: Tally) -> str:
    return f"{tally.planned} planned / {tally.sent} sent / {tally.answered} answered as wanted"


def _told_knee(run: ArrivalRateRun) -> str:
    held = knee(run.steps)
    if held is None:
        return "none: no stage was held"
    if run.end is End.KNEE:
        return f"{held:g}/s"
    return f"at least {held:g}/s: {run.end.value if run.end else 'the run was ended'}"


def _told(stage: Stage) -> str:
    p99 = stage.times.percentile_ms(0.99)
    told = [f"p99 {p99:.1f} ms" if p99 is not None else "p99 -", f"{stage.achieved_per_s:.0f}/s"]
    told += [f"generator {stage.generator_us:.0f} us a request"] if stage.generator_us is not None else []
    return ", ".join([*told, "held" if stage.held else "not held"]) + (f": {stage.note}" if stage.note else "")


def _notes(run: ArrivalRateRun) -> list[str]:
    notes = ["Latency is answered - intended; the histogram's cells tell at most 0.1 % too much, and never too little."]
    for tally in run.tallies:
        notes += [f"Not the wanted answer: {count} times {what}" for what, count in tally.others.most_common(5)]
    return [*notes, *catalogue.notes(run.scenario)]


def _files(
    subject: Subject, run: ArrivalRateRun, _: Observations | None, __: list[Check], directory: Path
) -> list[str]:
    files = subject.files(directory)
    if run.watch is not None:
        write_text(directory / "resources.csv", process_stats.resources_csv(run.watch.samples))
        files.append("resources.csv")
    return files
