"""Who gets a sandbox: requests of one track take turns within a process, so that duplicates hold one connection.

Once the pool is dry all requests share one look at it, which changes nothing (`decisions`).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final, Self

from nexmdm.sandboxes.decisions import Ask, Contended, Decision, Decisions

_CONTENDED_FOR_S: Final = 0.25
_CONTENDED_PAUSE_S: Final = 0.01

_Waiting = list[tuple[Ask, asyncio.Future[Decision]]]


class Allocator:
    """Use as `async with Allocator(decisions) as allocator`, then `await allocator.allocate(ask)`."""

    def __init__(self, decisions: Decisions) -> None:
        self._decisions = decisions
        self._by_track: dict[str, _Waiting] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._dry = False
        self._to_look: _Waiting = []
        self._looking = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Answer who waits, then end."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def allocate(self, ask: Ask) -> Decision:
        """Decide a request.

        Raises:
            Contended: neither a sandbox nor the certainty that there is none was to be had in time.
        """
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        waiting = self._by_track.get(ask.track_id)
        if waiting is None:
            self._by_track[ask.track_id] = [(ask, answer)]
            self._start(self._take_turns(ask.track_id))
        else:
            waiting.append((ask, answer))
        return await answer

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take_turns(self, track_id: str) -> None:
        while waiting := self._by_track[track_id]:
            self._by_track[track_id] = []
            for ask in dict.fromkeys(ask for ask, _ in waiting):
                answers = [answer for asked, answer in waiting if asked == ask and not answer.done()]
                try:
                    decision = await self._decide(ask)
                except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
                    _fail(answers, error)
                    continue
                for answer in answers:
                    if not answer.done():
                        answer.set_result(decision)
                    if decision.outcome == "new":
                        decision = replace(decision, outcome="replay")
        del self._by_track[track_id]

    async def _decide(self, ask: Ask) -> Decision:
        if self._dry and not ask.waits:
            seen = await self.look(ask)
            if seen.outcome != "call":
                return seen
        loop = asyncio.get_running_loop()
        until = loop.time() + _CONTENDED_FOR_S
        while True:
            decision = await self._decisions.call(ask)
            if decision.outcome != "contended":
                self._dry = decision.outcome == "exhausted"
                return decision
            if loop.time() > until:
                raise Contended
            await asyncio.sleep(_CONTENDED_PAUSE_S)

    async def look(self, ask: Ask) -> Decision:
        """As `Decisions.look`, in one statement for all who ask now."""
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._to_look.append((ask, answer))
        if not self._looking:
            self._looking = True
            self._start(self._look_for_all())
        return await answer

    async def _look_for_all(self) -> None:
        try:
            while waiting := self._to_look:
                self._to_look = []
                try:
                    decisions = await self._decisions.look([ask for ask, _ in waiting])
                except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
                    _fail([answer for _, answer in waiting], error)
                    continue
                for decision, (_, answer) in zip(decisions, waiting, strict=True):
                    answer.set_result(decision)
        finally:
            self._looking = False


def _fail(answers: list[asyncio.Future[Decision]], error: Exception) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(error)
