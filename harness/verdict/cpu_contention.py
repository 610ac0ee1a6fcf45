"""How much of the machine went to programs that have no part in the run. It looks at CPU time alone.

Latencies that were measured while others held the CPUs prove no fault of the product; passed ones are all the better.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import psutil

from harness.verdict.thresholds import Judgement

LEAST_SHARE: Final = 0.25  # of the CPUs: where others took that much, a miss blames nobody


class Strangers:
    """Watches from its making on. The run's own: what descends from the backend's starter or from this process."""

    def __init__(self, backend_pid: int | None) -> None:
        """backend_pid: None where the backend runs elsewhere: then nothing is known."""
        self._backend_pid = backend_pid
        self._before = self._read()

    def share(self) -> float | None:
        """The part of all CPU time since the beginning that others took, 0 to 1; None: it cannot be known."""
        now = self._read()
        if self._before is None or now is None:
            return None
        (at, busy, own), (at_now, busy_now, own_now) = self._before, now
        capacity = (at_now - at) * (os.cpu_count() or 1)
        return min(1.0, max(0.0, (busy_now - busy) - (own_now - own)) / capacity) if capacity > 0 else None

    def _read(self) -> tuple[float, float, float] | None:
        """Now, the busy seconds of the machine (time stolen by its host included), and those of the run."""
        if self._backend_pid is None:
            return None
        with suppress(psutil.Error, OSError):
            times = psutil.cpu_times()
            busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
            return time.monotonic(), busy - getattr(times, "guest_nice", 0.0), sum(map(_seconds, self._family()))
        return None

    def _family(self) -> Iterator[psutil.Process]:
        backend = psutil.Process(self._backend_pid)
        launcher = backend.parent()
        root = backend if launcher is None or launcher.pid == 1 else launcher
        known = {one.pid: one for top in (root, psutil.Process()) for one in (top, *top.children(recursive=True))}
        yield from known.values()


def excused(judged: Judgement, share: float | None, least: float = LEAST_SHARE) -> Judgement:
    """The judgement, void where others took `least` of the CPUs or more. share: None: it is not known."""
    if share is None or share < least:
        return judged
    why = f"other programs took {share:.0%} of the CPUs meanwhile"
    return judged.voided(f"{judged.note}; {why}" if judged.note else why)


def _seconds(process: psutil.Process) -> float:
    """Its CPU time and that of the children it has outlived; 0 for one that has just ended."""
    with suppress(psutil.Error):
        return float(sum(process.cpu_times()[:4]))
    return 0.0
