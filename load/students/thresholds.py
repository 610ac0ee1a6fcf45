"""The limits of a run of students, judged, and what it tells beside them.

Sources: seed 003 (300 ms for p95, 500 ms for p99, and what its runs measured) and the targets of the broker.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from harness.sandboxes.calls import RELEASE, write_calls
from harness.verdict.thresholds import Check, Judgement, Limit, Status, minimum_samples
from load.measurements.histogram import Histogram
from load.students.checks import CHECKS, LABS_CHECKS
from load.students.observer import Observations, verified
from load.students.run import StudentRun
from load.verdict.guards import CLIENT, LEAST_SAMPLES, lag_limit, voided_by
from load.verdict.seed_counters import seed_counters
from load.verdict.verdict import Criteria, Facts
from load.workloads import catalogue
from load.workloads.arrival_rate import Percentile
from load.workloads.students import ALLOCATE, REPEAT, Mixed

CALLS: Final = "calls.csv.gz"
_BUSY: Final = 0.9  # of a core: from there on, what was slow may have been the generator


def judgements(run: StudentRun, _: Observations | None) -> list[Judgement]:
    """Every limit. A closed loop that is slow sends less: a latency that passes does so at the rate that it tells."""
    failed = Limit("errors", "requests", "==", 0, LEAST_SAMPLES, source="client: 5xx, 429, time-out, wrong answer")
    errors = failed.judge_value(run.wrong.total(), run.requests)
    scenario = run.scenario
    if not isinstance(scenario, Mixed):
        return [errors]
    # Without a pause nothing is due but what is sent at once, and the generator's own delay is in each latency.
    lag = lag_limit(scenario).judge_value(run.lag.percentile_ms(0.99), run.lag.n)
    guards = [lag] if any(scenario.pause_s) else []
    timed = [_latency(run, wanted) for wanted in scenario.latency]
    return [*voided_by(run, timed, guards), errors, *guards]


def _latency(run: StudentRun, wanted: Percentile) -> Judgement:
    times, name = run.timings().whole(wanted.kind), f"{wanted.kind} p{wanted.q * 100:g}"
    limit = Limit(name, "ms", "<", wanted.below_ms, minimum_samples(wanted.q), source=CLIENT)
    judged = limit.judge_value(times.percentile_ms(wanted.q), times.n)
    cost = run.generator_cost
    if judged.status is Status.FAIL and cost is not None and cost.cpu_s > _BUSY * cost.wall_s:
        return judged.voided("the generator was busy for all of the time")
    return judged


def facts(run: StudentRun) -> Facts:
    """Its figures, the seed's counters among them."""
    times, released = run.timings(), [call for call in run.calls if call.kind == RELEASE]
    asks = Histogram()
    for kind in (ALLOCATE, REPEAT):
        asks.merge(times.whole(kind))
    cost = run.generator_cost
    return {
        "sandboxes": run.scenario.sandboxes,
        "requests": run.requests,
        "requests/s": round(run.requests / cost.wall_s, 1) if cost is not None else None,
        **seed_counters(run.outcomes, asks, sum(call.acknowledged for call in released)),
    }


def notes(run: StudentRun) -> list[str]:
    """What a reader must know of the run."""
    wrong = [f"{count} times {what}" for what, count in run.wrong.most_common(5)]
    return [*catalogue.notes(run.scenario), *wrong]


def write_record(run: StudentRun, _: Observations | None, __: list[Check], directory: Path) -> list[str]:
    """Every call. Returns the name of the file."""
    write_calls(directory / CALLS, run.calls)
    return [CALLS]


CRITERIA = Criteria(CHECKS, judgements, facts, notes, write_record, verified)
LABS_CRITERIA = Criteria((*CHECKS, *LABS_CHECKS), judgements, facts, notes, write_record, verified)
