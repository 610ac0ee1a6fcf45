"""What became of one stage of a rising load, and why the load stopped rising. Pure; it runs nothing."""

from __future__ import annotations

from dataclasses import dataclass

from load.arrival_rate.run import End
from load.arrival_rate.schedule import Leg
from load.measurements.histogram import Stage
from load.measurements.tally import Tally
from load.workloads.arrival_rate import ArrivalRate, Capacity


@dataclass(frozen=True)
class Climbed:
    """One stage, and the end if it was the last."""

    stage: Stage
    end: End | None


def _own_trouble(tally: Tally, p99_ms: float, scenario: ArrivalRate) -> list[str]:
    """What the generator itself did badly; empty: nothing that explains the latencies.

    Where the server has taken the CPU that both share, the generator lags as well: its lag is to blame only when it
    makes up half of the latency.
    """
    lag_ms = tally.lag.percentile_ms(0.99) or 0.0
    trouble = []
    if lag_ms >= scenario.lag_ms and lag_ms >= p99_ms / 2:
        trouble.append(f"its lag p99 was {lag_ms:.1f} ms")
    if tally.cpu >= scenario.cpu_share:
        trouble.append(f"it used {tally.cpu:.0%} of a core")
    return trouble


def climb(tally: Tally, leg: Leg, origin: float, capacity: Capacity) -> Climbed:
    """Judge one stage; `origin`: the beginning of the run. A stage without a single request is not held."""
    times = tally.timings.all()
    p99 = times.percentile_ms(0.99)
    achieved = tally.in_time / leg.duration_s
    broken = []
    if p99 is None or p99 > capacity.p99_ms:
        broken.append("no sample" if p99 is None else f"p99 {p99:.1f} ms")
    if times.n and times.errors / times.n > capacity.error_rate:
        broken.append(f"{times.errors / times.n:.1%} errors")
    if tally.in_time < capacity.achieved * tally.planned:
        broken.append(f"{achieved:.0f} of {leg.per_s:.0f}/s answered in time")
    trouble = _own_trouble(tally, p99 or 0.0, capacity)
    note = "; ".join(broken + (["the generator: " + ", ".join(trouble)] if trouble else []))
    from_s = leg.start - origin
    stage = Stage(leg.per_s, achieved, from_s, from_s + leg.duration_s, times, not broken, note, tally.cpu_us)
    end: End | None = None
    if broken:
        end = End.GENERATOR if trouble else End.KNEE
    elif capacity.next_rate(leg.per_s) > capacity.most_per_s:
        end = End.TOP
    return Climbed(stage, end)


def knee(stages: list[Stage]) -> float | None:
    """The highest load that was held, per second; None: not even the first."""
    return max((stage.offered_per_s for stage in stages if stage.held), default=None)
