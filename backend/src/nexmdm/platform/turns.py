"""Turns of changes within a zone: who waits for the zone's row waits here, so that one busy zone leaves connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from nexmdm.kernel.load_shedding import reject_overloaded
from nexmdm.kernel.standing_queue import StandingQueue

QUEUE: Final = "zone_changes"


class Turns:
    """`Turns(most, wait_s)`: at most so many changes of one zone at a time, in this process."""

    def __init__(self, most: int, wait_s: float) -> None:
        self._most, self._wait_s = most, wait_s
        self._zones: dict[str, tuple[asyncio.Semaphore, StandingQueue]] = {}

    @asynccontextmanager
    async def turn(self, zone_id: str) -> AsyncIterator[None]:
        """Problem: `overloaded`, where the wait was too long, or too many have been waiting for a while."""
        if zone_id not in self._zones:
            self._zones[zone_id] = asyncio.Semaphore(self._most), StandingQueue(QUEUE, self._most)
        turns, queue = self._zones[zone_id]
        if queue.is_full():
            raise reject_overloaded(QUEUE)
        queue.enter()
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
            queue.leave()
            if not queue.present:
                del self._zones[zone_id]
