"""A clock that can be moved for one child process and its children, by Debian's libfaketime. It moves no other clock.

It brings no library along: there is no wheel of it, and compiling one is not a test's business.
"""

from __future__ import annotations

import time
from pathlib import Path

from harness.processes.child import workspace
from harness.settings import HarnessError

_PLACES = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib*/faketime/libfaketime.so.1")


class MovedClockError(HarnessError):
    """There is no libfaketime on this machine."""


class MovedClock:
    """`env` is for the child; `now` is what it sees, as far as it reads the time of day."""

    def __init__(self, offset_s: float = 0.0) -> None:
        """Raises MovedClockError."""
        found = sorted(path for place in _PLACES for path in Path("/").glob(place.lstrip("/")))
        if not found:
            raise MovedClockError("libfaketime (Debian: apt install faketime)")
        folder = workspace("clock")
        folder.chmod(0o755)  # PostgreSQL does not run as root
        self._file = folder / "offset"
        self.offset_s = 0.0
        self.move(offset_s)
        self.env = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",  # read anew for each look at the clock: a move takes effect at once
            "FAKETIME_DISABLE_SHM": "1",  # what a killed process leaves in /dev/shm would stay there
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # a real machine's time-outs do not move with its clock
            "NO_FAKE_STAT": "1",
        }

    def move(self, by_s: float) -> None:
        """Let it jump, forward or back."""
        self.offset_s += by_s
        part = self._file.with_suffix(".part")
        part.write_text(f"{self.offset_s:+.3f}\n")
        part.chmod(0o644)
        part.replace(self._file)

    def now(self) -> float:
        """Epoch seconds as the child sees them."""
        return time.time() + self.offset_s
