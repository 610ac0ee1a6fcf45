"""What a connection may cost: a place among a bounded number, the bytes of a head, the time that it keeps us waiting.

uvicorn waits for ever for the rest of a request and reads a head of any length. Here one sweep a second looks at every
connection of the process, so no request pays for a timer of ours. It judges no whole request: that is the business of
`framing` and the application.
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from enum import Enum, auto
from math import inf
from typing import Any, Final, Self

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from nexmdm import metrics
from nexmdm.errors import Problem
from nexmdm.logs import Event, emit
from nexmdm.settings import Settings
from nexmdm.telemetry import DEFAULT_HEADERS, request_id

STATE: Final = "connections"  # where the lifespan puts the `Connections` of the process
KEEP_ALIVE_S: Final = 75
HEAD_LIMIT_BYTES: Final = 64 * 1024  # of request line and headers; what one read brings may exceed it
PIPELINE_LIMIT: Final = 64  # requests that wait behind one another on a connection
_LEAST_PROGRESS_BYTES: Final = 1024  # of a body, within each stall time: 256 MiB may take days, a byte a minute may not
_CROWDED: Final = 0.9  # of the places taken: from here on an idle connection is kept for `_CROWDED_IDLE_S` only
_CROWDED_IDLE_S: Final = 5
_DESCRIPTORS_KEPT: Final = 256  # for the database, files of metrics and builds, the log
_YIELD_EVERY: Final = 500  # connections that a sweep looks at, about a millisecond, before others have their turn


class Stage(Enum):
    """What a connection is waiting for."""

    HEAD = auto()  # the rest of a request's head, or its first byte
    BODY = auto()  # the rest of its body
    ANSWER = auto()  # our answer, or that its client reads it
    SURPLUS = auto()  # the rest of a body that was refused before its end: time for its client to notice
    IDLE = auto()  # the next request
    CLOSING = auto()  # that its client reads what was written before it is closed


_LEAST: Final = dict.fromkeys(Stage, 1) | {Stage.BODY: _LEAST_PROGRESS_BYTES}
_LATE: Final = {
    Stage.HEAD: "slow_head",
    Stage.BODY: "slow_body",
    Stage.SURPLUS: "slow_body",
    Stage.ANSWER: "slow_reader",
}


class Connections:
    """The open connections of one process; sweeps them while it is entered."""

    def __init__(self, settings: Settings) -> None:
        self._limit = places(settings.max_connections)
        self._head_s, self._stall_s = settings.head_timeout_s, settings.stall_timeout_s
        self._open: set[GuardedConnection] = set()
        self._unanswered: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        self._sweeping = asyncio.create_task(self._sweep_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._sweeping.cancel()

    def admit(self, connection: GuardedConnection) -> bool:
        """Whether there is a place for it."""
        if len(self._open) >= self._limit:
            self.count("too_many")
            return False
        self._open.add(connection)
        return True

    def leave(self, connection: GuardedConnection) -> None:
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
            await asyncio.sleep(1)
            allowed_s = self.allowed_s()
            for number, connection in enumerate(tuple(self._open), 1):
                connection.look(now(), allowed_s)
                if number % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
            metrics.connections_open.set(len(self._open))
            ended, self._unanswered = self._unanswered, Counter()
            for reason, count in ended.items():
                emit(Event.CONNECTION_REFUSED, "warning", reason=reason, connections=count, ip=None)


def places(wanted: int) -> int:
    """How many connections this process can hold of those wanted; raises its limit of descriptors for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _DESCRIPTORS_KEPT
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return min(wanted, max(1, needed - _DESCRIPTORS_KEPT))


class GuardedConnection(HttpToolsProtocol):
    """uvicorn's protocol with these bounds; without `Connections` in the lifespan's state time costs nothing."""

    _guard: Connections | None = None
    _received = 0  # bytes
    _whole = 0  # of them: up to the last that was not of an unfinished head
    _seen: tuple[Stage, object] | None = None  # at the last sweep: the stage, and of which request
    _seen_at = 0  # how far it was
    _since_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._guard = self.app_state.get(STATE)
        if self._guard is not None and not self._guard.admit(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.pipeline.clear()
        if self._guard is not None:
            self._guard.leave(self)

    def data_received(self, data: bytes) -> None:
        # Not uvicorn's own: it answers in plain text, and in the place of an answer that is still to come.
        self._received += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.cycle.keep_alive = False  # we speak nothing else; what follows is not HTTP
            self._whole = self._received
            return
        except httptools.HttpParserError:
            self._turn_away("malformed_request", "malformed")
            return
        cycle: Any = self.cycle  # None before the first request, which uvicorn's types do not say
        if cycle is not None and cycle.scope is self.scope:
            self._whole = self._received
        elif self._received - self._whole > HEAD_LIMIT_BYTES:
            self._turn_away("head_too_large", "large_head")
        if len(self.pipeline) > PIPELINE_LIMIT:
            self._end("pipeline")

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.cycle.more_body = False  # also of a request that was answered before its end

    def look(self, now_s: float, allowed_s: dict[Stage, float]) -> None:
        """End the connection if it has made no progress for as long as its stage allows."""
        stage, of, at = self._stage()
        seen = (stage, of)
        if self._seen is None or self._seen[0] is not stage or self._seen[1] is not of:
            self._seen, self._seen_at, self._since_s = seen, at, now_s
        elif abs(at - self._seen_at) >= _LEAST[stage]:
            self._seen_at, self._since_s = at, now_s
        elif now_s - self._since_s >= (inf if self._waits_for_us(stage) else allowed_s[stage]):
            self._overdue(stage)

    def _stage(self) -> tuple[Stage, object, int]:
        """The stage, the request that it is about, and a number that changes with progress."""
        cycle: Any = self.cycle
        if self.transport.is_closing():
            return Stage.CLOSING, None, self.transport.get_write_buffer_size()
        if cycle is None or cycle.scope is not self.scope:
            return Stage.HEAD, self.scope, 0  # a head has one time in all: drops of it are no progress
        if cycle.response_complete:
            return Stage.SURPLUS if cycle.more_body else Stage.IDLE, cycle, 0
        if cycle.more_body:
            return Stage.BODY, cycle, self._received
        return Stage.ANSWER, cycle, self.transport.get_write_buffer_size()

    def _waits_for_us(self, stage: Stage) -> bool:
        if stage is Stage.BODY:
            return self.flow.read_paused
        return stage is Stage.ANSWER and not self.flow.write_paused

    def _overdue(self, stage: Stage) -> None:
        if stage is Stage.IDLE and not self.transport.get_write_buffer_size():
            self.transport.close()
        elif stage in {Stage.BODY, Stage.HEAD} and self._received:
            self._turn_away("request_timeout", _LATE[stage])
        else:
            self._end(_LATE.get(stage, "slow_reader"))

    def _end(self, reason: str) -> None:
        if self._guard is not None:
            self._guard.count(reason)
        self.transport.abort()

    def _turn_away(self, code: str, reason: str) -> None:
        """Answer for the application, which has not got a whole request, and close."""
        stage = self._stage()[0]
        if stage is Stage.CLOSING:
            return
        cycle: Any = self.cycle
        metrics.connections_refused.labels(reason).inc()
        given_id = request_id(self.headers or () if stage is not Stage.IDLE else ())
        ip = self.client[0] if self.client else None
        emit(Event.CONNECTION_REFUSED, "warning", request_id=given_id, reason=reason, connections=1, ip=ip)
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            cycle.keep_alive = False  # the requests before it are answered first; ours would be taken for one of theirs
            self.flow.pause_reading()
            return
        if cycle is not None and not cycle.response_complete:
            if self.pipeline or cycle.response_started:
                self.transport.close()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.write(_answer(Problem(code), given_id, self.server_state.default_headers))
        self.transport.close()


def _answer(problem: Problem, given_id: str, more: list[tuple[bytes, bytes]]) -> bytes:
    """The bytes of what Telemetry and uvicorn would make of it."""
    response = problem.response(given_id)
    headers: list[tuple[Any, Any]] = [
        *more,
        *response.raw_headers,
        *DEFAULT_HEADERS,
        (b"x-request-id", given_id.encode()),
        (b"connection", b"close"),
    ]
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return b"".join((STATUS_LINE[problem.status], lines, b"\r\n", response.body))
