"""Turns of changes within a zone: who waits for the zone's row waits here, so that one busy zone leaves connections."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from nexmdm.kernel.load_shedding import reject_overloaded

QUEUE: Final = "zone_changes"


class Turns:
    """`Turns(most, wait_s)`: at most so many changes of one zone at a time, in this process."""

    def __init__(self, most: int, wait_s: float) -> None:
        self._most, self._wait_s = most, wait_s
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._present: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, zone_id: str) -> AsyncIterator[None]:
        """Problem: `overloaded`, where the wait was too long."""
        turns = self._turns.setdefault(zone_id, asyncio.Semaphore(self._most))
        self._present[zone_id] += 1
        try:
            try:
                await asyncio.wait_for(turns.acquire(), self._wait_s)
            except TimeoutError:
                raise reject_overloaded(QUEUE) from None
            try:
                yield
            finally:
                turns.release()
        finally:
            self._present[zone_id] -= 1
            if not self._present[zone_id]:
                del self._present[zone_id], self._turns[zone_id]
