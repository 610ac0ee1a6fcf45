"""In-memory block list of addresses over the rate limit of failed authentications.

`kernel.rate_limits` counts, in the database and for all processes. Once it has refused an address, this process refuses
it without a statement. Right credentials pass all the same: an address may be shared.
"""

from __future__ import annotations

import math
from time import monotonic
from typing import Final

from nexmdm.http.events import AUTH_ALERT
from nexmdm.kernel.log import emit
from nexmdm.kernel.lru import LruCache
from nexmdm.kernel.settings import Limit

RULE: Final = "auth_fail"
_MOST: Final = 10_000  # addresses that are remembered; the oldest gives way


class BlockedAddresses:
    """What this process knows of the limit of failed authentications."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._until: LruCache[str, float] = LruCache(_MOST)
        self._alerted: LruCache[str, float] = LruCache(_MOST)

    def wait_s(self, source: str) -> int | None:
        """How long the address has still to wait; None: it is not blocked."""
        until = self._until.get(source)
        if until is None:
            return None
        left_s = until - monotonic()
        if left_s > 0:
            return math.ceil(left_s)
        del self._until[source]
        return None

    def add(self, source: str, wait_s: int) -> None:
        """Block the address for so long; one alert per address and window goes to the log."""
        now = monotonic()
        self._until.put(source, now + wait_s)
        if now >= self._alerted.get(source, 0.0):
            self._alerted.put(source, now + self._limit.window_s)
            emit(AUTH_ALERT, "error", rule=RULE, source=source)
