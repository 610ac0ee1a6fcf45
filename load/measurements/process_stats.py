"""What the backend's processes hold over a long run: samples, resources.csv, growth. It ends nothing.

Growth is judged on medians, which a garbage collection or one large request does not move: those of the last quarter
against those of the second one. The first quarter is a warm-up, in which caches and pools fill.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import linear_regression, median

import gevent
import psutil

from harness.verdict.thresholds import Check, Judgement, Limit, Status
from load.workloads.arrival_rate import Soak

_MIB = 2**20
_WARM_UP = 0.25
_LEAST = 5  # samples in each of the two quarters
_SAME = ("processes", "the backend's processes are the same from beginning to end")


@dataclass(frozen=True)
class Sample:
    """One process at one time: seconds since the beginning of the run. uss_mib: what would be free without it."""

    t_s: float
    pid: int
    rss_mib: float
    uss_mib: float
    fds: int
    threads: int


def sample(pid: int, t_s: float) -> list[Sample]:
    """The process and its children. psutil.Error when it is gone; a child that has just ended is left out."""
    root = psutil.Process(pid)
    samples = [_one(root, t_s)]
    for child in root.children(recursive=True):
        try:
            samples.append(_one(child, t_s))
        except psutil.Error:
            continue
    return samples


def _one(process: psutil.Process, t_s: float) -> Sample:
    memory = process.memory_full_info()
    return Sample(t_s, process.pid, memory.rss / _MIB, memory.uss / _MIB, process.num_fds(), process.num_threads())


class Watch:
    """Samples every few seconds until it is stopped."""

    def __init__(self, pid: int, every_s: float, elapsed: Callable[[], float]) -> None:
        """elapsed: seconds since the beginning of the run."""
        self._pid, self._every_s, self._elapsed = pid, every_s, elapsed
        self.samples: list[Sample] = []
        self.trouble = ""
        self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            try:
                self.samples += sample(self._pid, self._elapsed())
            except psutil.Error as error:
                self.trouble = f"{type(error).__name__}: {error}"
                return
            gevent.sleep(self._every_s)

    def stop(self) -> None:
        self._greenlet.kill()


def resources_csv(samples: Sequence[Sample]) -> str:
    """One line per process and time."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("t_s", "pid", "rss_mib", "uss_mib", "fds", "threads"))
    for s in samples:
        writer.writerow((f"{s.t_s:.1f}", s.pid, f"{s.rss_mib:.1f}", f"{s.uss_mib:.1f}", s.fds, s.threads))
    return table.getvalue()


def growth(samples: Sequence[Sample], soak: Soak) -> list[Judgement]:
    """Memory and descriptors of all processes together. Too few samples are inconclusive."""
    second, last = _quarters(samples)
    n = min(len(second), len(last))
    memory = Limit("memory growth", "", "<", soak.memory_growth, _LEAST, source="psutil: USS, last to second quarter")
    fds = Limit("more descriptors", "", "<", soak.descriptors, _LEAST, source="psutil: last to second quarter")
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


def same_processes(samples: Sequence[Sample], trouble: str) -> Check:
    """FAIL when one that was there at first is gone at the end, even if another has taken its place."""
    if trouble or not samples:
        return Check(*_SAME, Status.FAIL if samples else Status.INCONCLUSIVE, trouble or "no sample")
    first, last = ({s.pid for s in samples if s.t_s == at} for at in (samples[0].t_s, samples[-1].t_s))
    gone = first - last
    seen = f"{len(first)} processes at first, {len(gone)} of them gone at the end"
    return Check(*_SAME, Status.FAIL if gone else Status.PASS, seen)


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
