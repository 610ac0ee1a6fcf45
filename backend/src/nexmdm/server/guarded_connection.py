"""One connection of a client: which bounds of `connections` it meets, and how a request that is not whole is refused.

It judges no whole request: that is the business of `framing` and the application.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from nexmdm.http.access_log import DEFAULT_HEADERS, request_id
from nexmdm.http.problems import MALFORMED_REQUEST
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import Problem, ProblemType
from nexmdm.server import metrics
from nexmdm.server.connections import STATE, Connections, Stage
from nexmdm.server.events import CONNECTION_REFUSED
from nexmdm.server.problems import HEAD_TOO_LARGE, REQUEST_TIMEOUT

HEAD_LIMIT_BYTES: Final = 64 * 1024  # of request line and headers; what one read brings may exceed it
PIPELINE_LIMIT: Final = 64  # requests that wait behind one another on a connection
_LEAST_PROGRESS_BYTES: Final = 1024  # of a body, within each stall time: 256 MiB may take days, a byte a minute may not
_LEAST: Final = dict.fromkeys(Stage, 1) | {Stage.BODY: _LEAST_PROGRESS_BYTES}
_LATE: Final = {
    Stage.HEAD: "slow_head",
    Stage.BODY: "slow_body",
    Stage.SURPLUS: "slow_body",
    Stage.ANSWER: "slow_reader",
}


class GuardedConnection(HttpToolsProtocol):
    """uvicorn's protocol with these bounds; without `Connections` in the lifespan's state time costs nothing."""

    _guard: Connections | None = None
    _received = 0  # bytes
    _whole = 0  # of them: up to the last that was not of an unfinished head
    _seen: tuple[Stage, object] | None = None  # at the last sweep: the stage, and of which request
    _seen_at = 0  # how far it was
    _since_s = 0.0
    _half_closed = False  # the client has said that it sends no more
    _answering: RequestResponseCycle | None = None  # by the application; `cycle` is the last request that came

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._guard = self.app_state.get(STATE)
        if self._guard is not None and not self._guard.admit(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.pipeline.clear()
        answering = self._answering
        if answering is not None and not answering.response_complete:  # uvicorn tells the last that came alone
            answering.disconnected = True
            answering.message_event.set()
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
            self._refuse_and_close(MALFORMED_REQUEST, "malformed")
            return
        cycle: Any = self.cycle  # None before the first request, which uvicorn's types do not say
        if cycle is not None and cycle.scope is self.scope:
            self._whole = self._received
        elif self._received - self._whole > HEAD_LIMIT_BYTES:
            self._refuse_and_close(HEAD_TOO_LARGE, "large_head")
        if len(self.pipeline) > PIPELINE_LIMIT:
            self._end("pipeline")

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn closes at once
        """The client sends no more, but it may still read: what it sent whole is answered, then the connection closes.

        True keeps the transport open. Whether the client has left altogether shows once something is written.
        """
        if not self._half_closed:
            self._half_closed = True
            stage = self._stage()[0]
            if stage is Stage.ANSWER or (stage is Stage.BODY and self.pipeline):
                self.cycle.keep_alive = False  # it is the last; its half, `_start_asgi_task` turns away
            elif stage is Stage.BODY or (stage is Stage.HEAD and self.scope is not None):
                self._refuse_and_close(MALFORMED_REQUEST, "incomplete")
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete and not self.transport.is_closing()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, _reading_all(cycle, app))
        if self._half_closed and cycle.more_body:
            self._refuse_and_close(MALFORMED_REQUEST, "incomplete")

    def on_header(self, name: bytes, value: bytes) -> None:
        # uvicorn's own, and without the white space behind a value, which httptools leaves and which is no part of it
        # (RFC 9110, section 5.5). Not by super(): a call more for each header costs more than the rest of this.
        name, value = name.lower(), value.strip(b" \t")
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_chunk_header(self) -> None:
        self.headers = []  # what may come behind chunks is a trailer and no header (RFC 9110, section 6.5.1)

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
            self._refuse_and_close(REQUEST_TIMEOUT, _LATE[stage])
        else:
            self._end(_LATE.get(stage, "slow_reader"))

    def _end(self, reason: str) -> None:
        if self._guard is not None:
            self._guard.count(reason)
        self.transport.abort()

    def _refuse_and_close(self, kind: ProblemType, reason: str) -> None:
        """Answer for the application, which has not got a whole request, and close."""
        stage = self._stage()[0]
        if stage is Stage.CLOSING:
            return
        cycle: Any = self.cycle
        metrics.connections_refused.labels(reason).inc()
        scope: Any = self.scope  # None before the first request
        given_id = request_id(scope["headers"] if scope is not None and stage is not Stage.IDLE else ())
        ip = self.client[0] if self.client else None
        emit(CONNECTION_REFUSED, "warning", request_id=given_id, reason=reason, connections=1, ip=ip)
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
        self.transport.write(_answer(Problem(kind), given_id, self.server_state.default_headers))
        self.transport.close()


def _reading_all(cycle: Any, app: Any) -> Any:
    """The application, told of what has come of a body before it is told that the client has left in the middle of it.

    uvicorn forgets the bytes that come together with the end of the link; an upload keeps them.
    """

    async def called(scope: Any, receive: Any, send: Any) -> None:
        async def receive_all() -> Any:
            message = await receive()
            if message["type"] == "http.disconnect" and cycle.more_body and cycle.body and not cycle.response_complete:
                message = {"type": "http.request", "body": bytes(cycle.body), "more_body": True}
                cycle.body = bytearray()
            return message

        await app(scope, receive_all, send)

    return called


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
