"""Who used the CPUs during a round: process trees, measured from outside. It deliberately judges nothing.

A reader sees from it what was the limit: a backend at 1.0 CPU per worker, a generator that could do no more, or a
machine with nothing left to give.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import psutil


def _tree_s(pid: int) -> float:
    """CPU seconds of a process, of its living descendants, and of those that have ended and were waited for."""
    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


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
        return {"generator": _own_s()} | {name: _tree_s(pid) for name, pid in self._trees.items()}
