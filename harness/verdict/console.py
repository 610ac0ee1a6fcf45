"""What a run says to people while it goes on: lines with the time so far, and progress that overwrites itself.

On a terminal progress stays in one line; elsewhere it is a line now and then. It decides nothing.
"""

from __future__ import annotations

import sys
import time
from typing import TextIO

_PROGRESS_EVERY_S = 5.0
_WIDTH = 100


class Console:
    """Lines such as `[contract   3.2 s] drift ...`."""

    def __init__(self, label: str, stream: TextIO | None = None) -> None:
        """stream: default stdout."""
        self._label, self._stream = label, stream or sys.stdout
        self._begun = time.monotonic()
        self._last_progress = 0.0
        self._live = self._stream.isatty()

    def say(self, text: str) -> None:
        """A line that stays."""
        self._write(f"\r{' ' * _WIDTH}\r" * self._live + f"{self._line(text)}\n")

    def progress(self, text: str) -> None:
        """A line that the next one may replace."""
        now = time.monotonic()
        if self._live:
            self._write(f"\r{self._line(text):<{_WIDTH}}")
        elif now - self._last_progress >= _PROGRESS_EVERY_S:
            self._last_progress = now
            self._write(f"{self._line(text)}\n")

    def _line(self, text: str) -> str:
        return f"[{self._label} {time.monotonic() - self._begun:5.1f} s] {text}"

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
