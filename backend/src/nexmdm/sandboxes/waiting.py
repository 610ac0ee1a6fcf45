"""The queue of an empty pool: requests that are parked until a sandbox is theirs, or their time is over.

A parked request holds no connection. Its place is a row of `waiters` with a rank, which this process renews each
second; the function that allocates serves it in the order of ranks, and keeps promised rows from all others. All parked
requests of a process ask in one statement what has become of them: when a sync has notified, and each second.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final, Self

from nexmdm.kernel.database import Database, report_outage
from nexmdm.kernel.notifications import listen
from nexmdm.sandboxes import metrics
from nexmdm.sandboxes.allocator import Allocator
from nexmdm.sandboxes.decisions import LEASE_S, Ask, Contended, Decision, Decisions
from nexmdm.sandboxes.settings import SandboxSettings

NEW_SANDBOXES: Final = "nexmdm_sandboxes"  # the channel on which a sync notifies

_LOOK_EVERY_S: Final = 1.0
_MOST_OF_A_TRACK: Final = 10  # requests in a process: one that asks in a loop leaves places to others
_PAUSE_S: Final = 0.05  # between two looks, however often we are notified

# It leaves `seen_at`, which is indexed: no request waits for nearly as long as a rank lives.
_RENEW: Final = """
    UPDATE waiters AS w
    SET parked_until = clock_timestamp() + make_interval(secs => $2)
    FROM (
        SELECT track_id FROM waiters WHERE track_id = ANY ($1::text[]) ORDER BY track_id FOR NO KEY UPDATE SKIP LOCKED
    ) AS mine
    WHERE w.track_id = mine.track_id
"""
# The rank stays for the next request. Without `$2` another request of the track is still parked.
_LEAVE: Final = """
    WITH mine AS (
        UPDATE waiters
        SET parked_until = CASE WHEN $2 THEN clock_timestamp() ELSE parked_until END, seen_at = clock_timestamp()
        WHERE track_id = $1 RETURNING rank
    )
    SELECT count(*) FROM waiters AS w JOIN mine ON w.rank <= mine.rank WHERE w.seen_at > now() - interval '60 s'
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision; of a request that was parked for how long, and its place in the queue where it got no sandbox."""

    decision: Decision
    parked_s: float | None = None
    position: int | None = None


class WaitingQueue:
    """Use as `async with WaitingQueue(..) as queue`, then `await queue.allocate(..)`.

    Once `stopping` is set, what is parked is answered, and nothing more is parked.
    """

    def __init__(
        self,
        db: Database,
        decisions: Decisions,
        allocator: Allocator,
        settings: SandboxSettings,
        stopping: asyncio.Event,
    ) -> None:
        self._db, self._decisions, self._allocator, self._stopping = db, decisions, allocator, stopping
        self._most = settings.max_waiters_per_process
        self._parked = Counter[str]()  # requests by track
        self._round = asyncio.Event()
        self._told = asyncio.Event()
        self._renewal = asyncio.Lock()
        self._serving = asyncio.Lock()  # one by one, as the database does anyway: others keep their connections
        self._tending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._ending = asyncio.create_task(self._tell_when_stopping())
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [task for task in (self._ending, self._tending) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def allocate(self, ask: Ask, wait_s: float, park: Callable[[], None]) -> Answer:
        """Decide a request; where nothing is free, within `wait_s`. `park` is called once it waits.

        A client that has left is not looked for: its connection would not tell. It finds what it was given by a replay.

        Raises:
            Contended: as `Allocator.allocate` does, unless it is parked.
        """
        decision = await self._allocator.allocate(ask)
        if decision.outcome != "exhausted" or not wait_s or not self._has_place(ask.track_id):
            return Answer(decision)
        loop = asyncio.get_running_loop()
        started = loop.time()
        parked = replace(ask, waits=True)
        with self._place(ask.track_id):
            with suppress(Contended):  # as when a class arrives at once: the next look parks it
                decision = await self._allocator.allocate(parked)
                if not decision.parked:
                    return Answer(decision)
            park()
            decision = await self._wait(parked, decision, started + wait_s)
        position = None if decision.given else await self._leave(ask.track_id)
        return Answer(decision, loop.time() - started, position)

    def _has_place(self, track_id: str) -> bool:
        full = self._parked.total() >= self._most or self._parked[track_id] >= _MOST_OF_A_TRACK
        return not full and not self._stopping.is_set()

    @contextmanager
    def _place(self, track_id: str) -> Iterator[None]:
        self._parked[track_id] += 1
        metrics.waiters.set(self._parked.total())
        if self._tending is None or self._tending.done():
            self._tending = asyncio.create_task(self._tend(), name="sandboxes-queue")
        try:
            yield
        finally:
            self._parked[track_id] -= 1
            self._parked += Counter()  # only those that are left
            metrics.waiters.set(self._parked.total())

    async def _wait(self, ask: Ask, decision: Decision, until: float) -> Decision:
        exhausted = decision
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._round.wait()
            if asyncio.get_running_loop().time() >= until or self._stopping.is_set():
                return exhausted
            with suppress(Contended):
                decision = await self._allocator.look(ask)
                if decision.outcome == "call":
                    async with self._serving:
                        decision = await self._allocator.allocate(ask)
            if decision.outcome not in {"exhausted", "call"}:
                return decision

    async def _leave(self, track_id: str) -> int | None:
        """Give the place up, unless another request of the track has it too; tell which it was."""
        async with self._renewal:  # which may have begun with this one
            pass
        rows = await self._decisions.fetch(_LEAVE, track_id, track_id not in self._parked)
        return rows[0]["count"] or None

    async def _tend(self) -> None:
        """Renew the places and have the requests look, while there are any."""
        listening = asyncio.create_task(
            listen(self._db, NEW_SANDBOXES, lambda _: self._told.set()), name="sandboxes-listener"
        )
        try:
            while self._parked:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._told.wait(), _LOOK_EVERY_S)
                self._told.clear()
                try:
                    async with self._renewal:
                        await self._decisions.fetch(_RENEW, list(self._parked), LEASE_S)
                except Contended:
                    pass  # the lease lasts for two more
                except Exception as error:  # noqa: BLE001 - raised again unless it is an outage, which the look meets too
                    report_outage(error)
                over, self._round = self._round, asyncio.Event()
                over.set()
                await asyncio.sleep(_PAUSE_S)
        finally:
            listening.cancel()

    async def _tell_when_stopping(self) -> None:
        await self._stopping.wait()
        self._told.set()
