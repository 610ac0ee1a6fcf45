"""Addresses that have used up their failed authentications, each until it was told to come again. It counts none.

`limits` counts, in the database and for all processes. Once it has said no, this process can say the same without
asking, so that who goes on trying costs no statement. What is right is let in all the same: an address is shared.
"""

from __future__ import annotations

import math
from time import monotonic
from typing import Final

from nexmdm.http.events import AUTH_ALERT
from nexmdm.kernel.log import emit
from nexmdm.kernel.lru import Recent
from nexmdm.kernel.settings import Limit

RULE: Final = "auth_fail"
_MOST: Final = 10_000  # addresses that are remembered; the oldest gives way


class LimitedSources:
    """What this process knows of the limit of failed authentications."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._until: Recent[str, float] = Recent(_MOST)
        self._alerted: Recent[str, float] = Recent(_MOST)

    def wait_s(self, source: str) -> int | None:
        """How long the source has still to wait; None: nothing is known against it."""
        until = self._until.get(source)
        if until is None:
            return None
        left_s = until - monotonic()
        if left_s > 0:
            return math.ceil(left_s)
        del self._until[source]
        return None

    def add(self, source: str, wait_s: int) -> None:
        """The limit has refused the source for so long. Who watches the log gets one alert per source and window."""
        now = monotonic()
        self._until.keep(source, now + wait_s)
        if now >= self._alerted.get(source, 0.0):
            self._alerted.keep(source, now + self._limit.window_s)
            emit(AUTH_ALERT, "error", rule=RULE, source=source)
