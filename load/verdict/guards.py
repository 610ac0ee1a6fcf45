"""What every load generator is under, whatever it sends: how late it may be, and what its trouble does to latencies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from harness.verdict.cpu_contention import excused
from harness.verdict.thresholds import Judgement, Limit, Status, minimum_samples
from load.measurements.run import Run, Scenario
from load.measurements.samples import Sample

LEAST_SAMPLES: Final = 20  # fewer say nothing, whatever the scenario: at 20, p95 has one sample beyond it
ON_TIME_S: Final = 1.0
CLIENT: Final = "client: answered - intended"


def least(q: float, planned: int) -> int:
    """How few samples of a percentile are judged. It follows from the plan, never from what was seen."""
    return max(LEAST_SAMPLES, min(minimum_samples(q), int(planned * 0.98)))


def lag_limit(scenario: Scenario) -> Limit:
    """p99 of sent - intended."""
    source, breach = "generator: sent - intended", Status.INCONCLUSIVE
    return Limit("generator lag p99", "ms", "<", scenario.lag_ms, LEAST_SAMPLES, breach=breach, source=source)


def sent_limit() -> Limit:
    """How much of the plan was sent in time."""
    source, breach = f"generator: sent within {ON_TIME_S:g} s of plan", Status.INCONCLUSIVE
    return Limit("requests sent of plan", "", ">=", 0.98, LEAST_SAMPLES, breach=breach, source=source)


def on_time_share(samples: Sequence[Sample], planned: int) -> float | None:
    """How much of the plan was sent within a second of its time; None: nothing was planned."""
    return sum(sample.lag_ms < ON_TIME_S * 1000 for sample in samples) / planned if planned else None


def voided_by(run: Run, timed: Sequence[Judgement], guards: Sequence[Judgement]) -> list[Judgement]:
    """Latencies, void where the generator was late; a busy machine excuses a failure, and no more."""

    def void(judged: Judgement, why: str) -> Judgement:
        return judged.voided(f"{judged.note}; {why}" if judged.note else why)

    late = next((guard for guard in guards if guard.status is not Status.PASS), None)
    if late is not None:
        return [void(judged, f"{late.limit.name} does not hold") for judged in timed]
    share, threshold = run.other_cpu, run.scenario.other_cpu_share
    return [excused(judged, share, threshold) if judged.status is Status.FAIL else judged for judged in timed]
