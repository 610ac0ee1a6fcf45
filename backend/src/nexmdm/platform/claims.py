"""Claims that wait for a task. One holds no connection: it looks when it is told of a task for it, and each second."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, Self

from nexmdm.kernel.database import OUTAGES, Database
from nexmdm.kernel.load_shedding import reject_overloaded
from nexmdm.kernel.notifications import listen
from nexmdm.kernel.statements import Statements
from nexmdm.platform import metrics

QUEUE: Final = "claims"
LOOK_EVERY_S: Final = 1.0
_CHANNEL: Final = "nexmdm_tasks"
_NOTIFY: Final = "SELECT pg_notify($1, $2)"
_PAUSE_S: Final = 0.02  # between two looks, however often one is told


async def notify(statements: Statements, zone_id: str, executor: str) -> None:
    """Tell claims of a task that is committed. A statement of its own: within a change all changes would queue up."""
    with suppress(*OUTAGES):  # who waits looks by itself
        await statements.fetch(_NOTIFY, _CHANNEL, _key(zone_id, executor))


async def notify_all(statements: Statements) -> None:
    """Let every claim that waits look again: it may be no longer good."""
    with suppress(*OUTAGES):
        await statements.fetch(_NOTIFY, _CHANNEL, "")


def _key(zone_id: str, executor: str) -> str:
    return f"{zone_id} {executor}"


class WaitingClaims:
    """Use as `async with WaitingClaims(db, most, stopping) as claims`. One zone has at most half of the places."""

    def __init__(self, db: Database, most: int, stopping: asyncio.Event) -> None:
        self._db, self._most, self._stopping = db, most, stopping
        self._told = defaultdict[str, set[asyncio.Event]](set)
        self._zones = Counter[str]()
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    @contextmanager
    def place(self, zone_id: str, executor: str) -> Iterator[asyncio.Event]:
        """What is set when there may be a task. Problem: `overloaded`, where too many wait."""
        if self._zones.total() >= self._most or self._zones[zone_id] >= -(-self._most // 2):
            raise reject_overloaded(QUEUE)
        key, told = _key(zone_id, executor), asyncio.Event()
        self._zones[zone_id] += 1
        self._told[key].add(told)
        metrics.claims_waiting.inc()
        if self._listening is None:
            self._listening = asyncio.create_task(listen(self._db, _CHANNEL, self._tell), name="claims-listener")
        try:
            yield told
        finally:
            metrics.claims_waiting.dec()
            self._zones -= Counter([zone_id])
            self._told[key].discard(told)
            if not self._told[key]:
                del self._told[key]

    def _tell(self, key: str) -> None:
        """`key` empty: something may have been missed."""
        for told in self._told.get(key, ()) if key else set().union(*self._told.values()):
            told.set()

    async def look_again(self, told: asyncio.Event, until: float) -> bool:
        """Wait until it is time to look, False where it is not: `until` is over, or the process stops."""
        left_s = until - asyncio.get_running_loop().time()
        if left_s <= 0:
            return False
        await asyncio.sleep(_PAUSE_S)
        with suppress(TimeoutError):
            await asyncio.wait_for(told.wait(), min(LOOK_EVERY_S, left_s))
        told.clear()
        return not self._stopping.is_set()
