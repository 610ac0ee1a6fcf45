"""Who used the CPUs during a round, and who may: process trees, seen from outside. It judges nothing.

A reader sees from it what was the limit: a backend at 1.0 CPU per worker, a generator that could do no more, or a
machine with nothing left to give.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

import psutil


def tree(pid: int) -> Iterator[psutil.Process]:
    """A process and its living descendants; none where it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        yield from (root, *root.children(recursive=True))


def tree_s(pid: int) -> float:
    """CPU seconds of a process, of its living descendants, and of those that have ended and were waited for."""
    total = 0.0
    for process in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


class Spent:
    """CPU seconds of a process tree as it is now, over many blocks: `with spent: ...`, then `spent.total_s`.

    Read from each process's own clock, in nanoseconds: the ticks of /proc are as long as several requests.
    """

    def __init__(self, pid: int) -> None:
        # One that has ended keeps what it was last seen to have used.
        self._used_s = {process.pid: 0.0 for process in tree(pid)}
        self.total_s = 0.0

    def __enter__(self) -> Self:
        self._before = self._now_s()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.total_s += self._now_s() - self._before

    def _now_s(self) -> float:
        for pid in self._used_s:
            with contextlib.suppress(OSError):  # it has ended
                self._used_s[pid] = time.clock_gettime(_clock(pid))
        return sum(self._used_s.values())


def _clock(pid: int) -> int:
    """The CPU clock of a process, all its threads together: clock_getcpuclockid(3), which Python has for threads."""
    return ~pid << 3 | 2


def memory_mib(pid: int) -> float:
    """What a process tree holds resident; pages that its processes share count once for each."""
    total = 0.0
    for process in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss / 2**20
    return total


@contextlib.contextmanager
def kept_off(cpu: int | None, pids: Iterable[int | None]) -> Iterator[None]:
    """Keep these process trees, and what they start meanwhile, off one CPU: a generator has it for itself."""
    everywhere = sorted(os.sched_getaffinity(0))
    processes = [process for pid in pids if pid is not None for process in tree(pid)] if cpu is not None else []

    def allow(cpus: list[int]) -> None:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.cpu_affinity(cpus)

    allow([each for each in everywhere if each != cpu] or everywhere)
    try:
        yield
    finally:
        processes = [process for pid in pids if pid is not None for process in tree(pid)] if cpu is not None else []
        allow(everywhere)


def _own_s() -> float:
    """We and the generators that we have waited for, without the servers that live on beside them."""
    return sum(os.times()[:4])


class Meter:
    """Use as a context manager; then `used` says how many CPUs each tree kept busy, `generator` being ourselves."""

    def __init__(self, trees: Mapping[str, int | None]) -> None:
        """trees: name -> process id of the root; None: unknown, left out."""
        self._trees = {name: pid for name, pid in trees.items() if pid is not None}
        self.used: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._before, self._begun = self._read(), time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        elapsed_s = time.monotonic() - self._begun
        self.used = {name: (now - self._before[name]) / elapsed_s for name, now in self._read().items()}

    def __str__(self) -> str:
        return ", ".join(f"{name} {cpus:.2f}" for name, cpus in self.used.items())

    def _read(self) -> dict[str, float]:
        return {"generator": _own_s()} | {name: tree_s(pid) for name, pid in self._trees.items()}
