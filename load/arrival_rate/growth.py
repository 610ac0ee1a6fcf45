"""Growth of what the backend's processes hold, judged on medians, which one large request does not move.

Those of the last quarter against those of the second one. The first quarter is a warm-up, in which caches fill.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import linear_regression, median

from harness.verdict.thresholds import Judgement, Limit
from load.measurements.process_stats import Sample
from load.verdict.check import Finding, Undecided

_WARM_UP = 0.25
_LEAST = 5  # samples in each of the two quarters


def growth(samples: Sequence[Sample], most_growth: float, most_descriptors: int) -> list[Judgement]:
    """Memory and descriptors of all processes together. Too few samples are inconclusive."""
    second, last = _quarters(samples)
    n = min(len(second), len(last))
    memory = Limit("memory growth", "", "<", most_growth, _LEAST, source="psutil: USS, last to second quarter")
    fds = Limit("more descriptors", "", "<", most_descriptors, _LEAST, source="psutil: last to second quarter")
    if not n:
        return [memory.judge_value(None, n), fds.judge_value(None, n)]
    held = [median(mib for mib, _ in quarter) for quarter in (second, last)]
    opened = [median(count for _, count in quarter) for quarter in (second, last)]
    return [memory.judge_value(held[1] / held[0] - 1, n), fds.judge_value(opened[1] - opened[0], n)]


def slope_mib_per_h(samples: Sequence[Sample]) -> float | None:
    """The straight line through the memory after the warm-up; None: there are too few samples."""
    totals = _totals(samples)
    settled = [(t, mib) for t, (mib, _) in totals.items() if _share(totals, t) >= _WARM_UP]
    if len(settled) < _LEAST:
        return None
    times, values = zip(*settled, strict=True)
    return linear_regression(times, values).slope * 3600


def same_processes(samples: Sequence[Sample], trouble: str) -> Finding:
    """A fault when one that was there at first is gone at the end, even if another has taken its place."""
    if not samples:
        raise Undecided(trouble or "no sample")
    first, last = ({s.pid for s in samples if s.t_s == at} for at in (samples[0].t_s, samples[-1].t_s))
    gone = first - last
    seen = f"{len(first)} processes at first, {len(gone)} of them gone at the end"
    return Finding([trouble] if trouble else [f"process {pid} is gone" for pid in sorted(gone)], seen)


def _totals(samples: Sequence[Sample]) -> dict[float, tuple[float, int]]:
    """(USS in MiB, descriptors) of all processes, by time."""
    totals: dict[float, tuple[float, int]] = {}
    for s in samples:
        mib, fds = totals.get(s.t_s, (0.0, 0))
        totals[s.t_s] = (mib + s.uss_mib, fds + s.fds)
    return totals


def _quarters(samples: Sequence[Sample]) -> tuple[list[tuple[float, int]], list[tuple[float, int]]]:
    """The second and the last quarter of the time that the samples span."""
    totals = _totals(samples)
    share = {t: _share(totals, t) for t in totals}
    second = [totals[t] for t in totals if _WARM_UP <= share[t] < 0.5]
    return second, [totals[t] for t in totals if share[t] >= 0.75]


def _share(times: Iterable[float], t: float) -> float:
    """Where `t` lies between the first and the last of these times, 0 to 1."""
    began, ended = min(times), max(times)
    return (t - began) / (ended - began) if ended > began else 0.0
