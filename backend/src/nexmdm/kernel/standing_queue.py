"""Queues within a process: a crowd that comes at once may wait, a queue that does not end is kept short.

A queue that stands adds its length to every wait and nothing to what is done (RFC 8289, section 2). Once that is longer
than anybody waits, all work is for callers who have left.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

CROWD_S: Final = 1.0
PLACES_EACH: Final = 16


class StandingQueue:
    """`StandingQueue(name, at_once)`: those who wait for one of so many, or have it. Who finds it full is refused.

    For a second after it was last empty it has room for everybody; then for 16 for each that is served at a time.
    """

    def __init__(self, name: str, at_once: int) -> None:
        self.name, self.present = name, 0
        self._most, self._began = PLACES_EACH * at_once, 0.0

    def is_full(self) -> bool:
        """Whether another one would wait behind too many, who have been there for a while."""
        return self.present >= self._most and monotonic() - self._began > CROWD_S

    def enter(self) -> None:
        """Take a place; `leave` gives it up."""
        if not self.present:
            self._began = monotonic()
        self.present += 1

    def leave(self) -> None:
        """Give up the place that `enter` took."""
        self.present -= 1
