"""What the backend's processes hold over a long run: samples, resources.csv. It ends nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gevent
import psutil

_MIB = 2**20


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
