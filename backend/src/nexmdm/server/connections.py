"""What connections may cost: a bounded number of places, and the time that each keeps us waiting.

uvicorn waits without end for the rest of a request. Here one sweep a second looks at every connection of the process,
so no request pays for a timer of ours. What a connection is at, and how it ends, `guarded_connection` knows.
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from enum import Enum, auto
from typing import Final, Protocol, Self

from nexmdm.kernel.log import emit
from nexmdm.kernel.settings import Settings
from nexmdm.server import metrics
from nexmdm.server.events import CONNECTION_REFUSED

STATE: Final = "connections"  # where the lifespan puts the `Connections` of the process
KEEP_ALIVE_S: Final = 75
_CROWDED: Final = 0.9  # of the places taken: from here on an idle connection is kept for `_CROWDED_IDLE_S` only
_CROWDED_IDLE_S: Final = 5
_DESCRIPTORS_KEPT: Final = 256  # for the database, files of metrics and builds, the log
_SWEEP_S: Final = 1
_YIELD_EVERY: Final = 500  # connections that a sweep looks at, about a millisecond, before others have their turn


class Stage(Enum):
    """What a connection is waiting for."""

    HEAD = auto()  # the rest of a request's head, or its first byte
    BODY = auto()  # the rest of its body
    ANSWER = auto()  # our answer, or that its client reads it
    SURPLUS = auto()  # the rest of a body that was refused before its end: time for its client to notice
    IDLE = auto()  # the next request
    CLOSING = auto()  # that its client reads what was written before it is closed


class Connection(Protocol):
    """What is swept."""

    def look(self, now_s: float, allowed_s: dict[Stage, float]) -> None:
        """End it if it has made no progress for as long as its stage allows."""
        ...


class Connections:
    """The open connections of one process; sweeps them while it is entered."""

    def __init__(self, settings: Settings) -> None:
        self._limit = connection_capacity(settings.max_connections)
        self._head_s, self._stall_s = settings.head_timeout_s, settings.stall_timeout_s
        self._open: set[Connection] = set()
        self._unanswered: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        self._sweeping = asyncio.create_task(self._sweep_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._sweeping.cancel()

    def admit(self, connection: Connection) -> bool:
        """Whether there is a place for it."""
        if len(self._open) >= self._limit:
            self.count("too_many")
            return False
        self._open.add(connection)
        return True

    def leave(self, connection: Connection) -> None:
        self._open.discard(connection)

    def count(self, reason: str) -> None:
        """One more that was ended without an answer. A flood gets a line a second, not a line each."""
        metrics.connections_refused.labels(reason).inc()
        self._unanswered[reason] += 1

    def allowed_s(self) -> dict[Stage, float]:
        """How long a connection may stay at a stage without progress."""
        crowded = len(self._open) >= self._limit * _CROWDED
        return {
            Stage.HEAD: self._head_s,
            Stage.BODY: self._stall_s,
            Stage.ANSWER: self._stall_s,
            Stage.SURPLUS: self._stall_s,
            Stage.IDLE: _CROWDED_IDLE_S if crowded else KEEP_ALIVE_S,
            Stage.CLOSING: self._stall_s,
        }

    async def _sweep_for_ever(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(_SWEEP_S)
            allowed_s = self.allowed_s()
            for number, connection in enumerate(tuple(self._open), 1):
                connection.look(now(), allowed_s)
                if number % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
            metrics.connections_open.set(len(self._open))
            ended, self._unanswered = self._unanswered, Counter()
            for reason, count in ended.items():
                emit(CONNECTION_REFUSED, "warning", reason=reason, connections=count, ip=None)


def connection_capacity(wanted: int) -> int:
    """How many connections this process can hold of those wanted; raises its limit of descriptors for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _DESCRIPTORS_KEPT
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return min(wanted, max(1, needed - _DESCRIPTORS_KEPT))
