"""The way of log lines to stdout: a bounded buffer and a thread that writes, so that no log holds up the service.

A full disk, a reader that has died or one that reads nothing cost lines and nothing else. What finds no room is lost
and counted; lines of importance have a share of the buffer that others cannot use. It knows no events and no metrics.
"""

from __future__ import annotations

import mmap
import os
import signal
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from select import PIPE_BUF
from typing import Final, Literal

Kind = Literal["bulk", "ordinary", "reserved"]

SHARES: Final[dict[Kind, float]] = {"bulk": 1 / 2, "ordinary": 3 / 4, "reserved": 1}  # of the buffer, for each kind
DEFAULT_BYTES: Final = 2**20
FLUSH_S: Final = 0.5  # at the end of a process; the parent ends after its workers, so a stop may take twice this
_GATHER_S: Final = 0.005  # between two rounds of writing: one wake-up for all lines of that time
# Lines of several processes never mix: a pipe takes PIPE_BUF whole (POSIX), a local file each write (its lock).
_FILE_BYTES: Final = 65_536
_RETRY_S: Final = 0.05  # after a write that failed


class Sink:
    """Takes lines from any thread and never waits. `gap` makes the line that tells how many were lost, by kind."""

    def __init__(self, gap: Callable[[Counter[Kind]], bytes]) -> None:
        self._gap = gap
        self.begin()
        self.open(1, DEFAULT_BYTES)

    def begin(self) -> None:
        """Begin with nothing, as the child of a fork has to: neither the thread nor what waited for it is its own."""
        self._lock = threading.RLock()  # reentrant: a finalizer may log while its thread is in `take`
        self._changed = threading.Condition(self._lock)
        self._lines: list[bytes] = []
        self._bytes = 0  # of all lines that are not yet written
        self._idle = False
        self._thread: threading.Thread | None = None
        self._untold: Counter[Kind] = Counter()
        self._uncounted: Counter[Kind] = Counter()

    def open(self, file: int, most_bytes: int) -> None:
        """Write to this file descriptor; at most so many bytes wait."""
        self._file = file
        regular = _is_regular(file)
        self._most_at_once = _FILE_BYTES if regular else PIPE_BUF
        # 1: the log ends within a line. All processes that are forked from now on share it.
        self._torn = mmap.mmap(-1, 1)
        self._torn[0] = regular and _ends_within_a_line(file)
        self._room: dict[Kind, int] = {kind: int(most_bytes * share) for kind, share in SHARES.items()}

    def take(self, line: bytes, kind: Kind) -> bool:
        """Have a line written, which ends with its only newline. False: lines were lost; `lost` has how many."""
        with self._lock:
            if self._bytes + len(line) > self._room[kind]:
                self._untold[kind] += 1
                self._uncounted[kind] += 1
            else:
                self._lines.append(line)
                self._bytes += len(line)
                if self._idle:
                    self._idle = False
                    self._changed.notify_all()
                elif self._thread is None:
                    self._start()
            return not self._uncounted

    def lost(self) -> Counter[Kind]:
        """How many lines of each kind were lost since the last call."""
        with self._lock:
            lost, self._uncounted = self._uncounted, Counter()
            return lost

    def flush(self, within_s: float = FLUSH_S) -> None:
        """Wait until all is written, but no longer than this."""
        with self._changed:
            self._changed.wait_for(lambda: not self._bytes, within_s)

    def _start(self) -> None:
        # The thread inherits what is blocked: signals are for the main thread, which may wait for them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        thread = threading.Thread(target=self._run, name="log", daemon=True)
        try:
            thread.start()
            self._thread = thread
        except RuntimeError:  # no thread can be had now: the next line tries again
            pass
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _run(self) -> None:
        while True:
            for piece in _pieces(self._waiting(), self._most_at_once):
                self._put(piece)
            time.sleep(_GATHER_S)

    def _waiting(self) -> list[bytes]:
        """The lines that wait; at the end the one that tells of lines that were lost while these waited."""
        with self._changed:
            while not (self._lines or self._untold):
                self._idle = True
                self._changed.wait()
            lines, self._lines = self._lines, []
            if self._untold:
                lines.append(self._gap(self._untold))
                self._bytes += len(lines[-1])
                self._untold = Counter()
            return lines

    def _put(self, piece: bytes) -> None:
        """Write whole lines, however long that takes. A line that was written in part is written once more."""
        while True:
            done = self._write(piece)
            whole = piece.rfind(b"\n", 0, done) + 1
            if whole < done:
                self._torn[0] = 1
            with self._changed:
                self._bytes -= whole
                if not self._bytes:
                    self._changed.notify_all()
            piece = piece[whole:]
            if not piece:
                return
            time.sleep(_RETRY_S)

    def _write(self, piece: bytes) -> int:
        try:
            if self._torn[0]:  # whatever process left it: the next line must not become a part of it
                os.write(self._file, b"\n")
                self._torn[0] = 0
            return os.write(self._file, piece)
        except OSError:  # no room, no reader, no file
            return 0


def _is_regular(file: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(file).st_mode)
    except OSError:  # closed
        return False


def _ends_within_a_line(file: int) -> bool:
    """Whether somebody has left a fragment there, as a service that ended on a full disk. Unknown counts as no."""
    try:
        with Path(f"/proc/self/fd/{file}").open("rb") as log:  # the descriptor itself is for writing alone
            log.seek(-1, os.SEEK_END)
            return log.read() != b"\n"
    except OSError:  # it may not be read, or is empty
        return False


def _pieces(lines: list[bytes], most_bytes: int) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for line in lines:
        if held and size + len(line) > most_bytes:
            yield b"".join(held)
            held, size = [], 0
        held.append(line)
        size += len(line)
    yield b"".join(held)
