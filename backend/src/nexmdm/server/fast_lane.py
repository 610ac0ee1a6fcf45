"""The fast lane: uvicorn's HTTP protocol, which answers plain requests of one endpoint without an ASGI application.

What ASGI costs around a heartbeat (a task, messages, headers checked one by one, two writes) is a multiple of what the
heartbeat itself costs. A request that is plain in form and that the endpoint takes is answered here, in one write, with
the same headers, log line and metrics. So is the one refusal that must cost less than what it refuses: too many wait.
Every other request goes to the application as it came.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import cache, partial
from time import perf_counter
from typing import Any, Final, NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from nexmdm.http.access_log import DEFAULT_HEADERS, record, request_id
from nexmdm.http.fast_path import Endpoint, Probe
from nexmdm.http.json_body import JSON_LIMIT_BYTES
from nexmdm.kernel.load_shedding import reject_overloaded
from nexmdm.kernel.log import Origin, origin
from nexmdm.kernel.problems import Problem, ProblemType
from nexmdm.server.event_loop_lag import EventLoopLag
from nexmdm.server.guarded_connection import GuardedConnection

STATE: Final = "fast_lane"  # where the lifespan puts the endpoint
PROBE: Final = "fast_probe"  # the probe
LAG: Final = "event_loop_lag"
# With any of these, how the body is to be read is the application's business.
_LENGTH: Final = b"content-length"
_ODD: Final = frozenset({b"transfer-encoding", b"content-encoding", b"expect", b"upgrade"})
_BODIED: Final = _ODD | {_LENGTH}
_DEFAULT: Final = b"".join(b"%b: %b\r\n" % header for header in DEFAULT_HEADERS)
_OK: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + _DEFAULT

_ID: Final = b"{request_id}"  # which no request id can be


class _Held(NamedTuple):
    """A plain request; its body may still be on the way."""

    cycle: RequestResponseCycle
    app: Any
    endpoint: Endpoint
    token: str
    started: float


def _clear(scope: Any, unwanted: frozenset[bytes]) -> dict[bytes, bytes] | None:
    """The headers, where each is there once, a Host among them, and none that is unwanted."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if len(headers) != len(scope["headers"]) or b"host" not in headers or not unwanted.isdisjoint(headers):
        return None
    return headers


@cache  # the few refusals that there are, each with the few pauses that it asks for
def _rendered(kind: ProblemType, *headers: tuple[str, str]) -> tuple[bytes, bytes]:
    """Head and body of a refusal, with `_ID` for the request id."""
    response = Problem(kind, headers=dict(headers)).response(_ID.decode())
    head = STATUS_LINE[response.status_code]
    head += b"".join(b"%b: %b\r\n" % header for header in response.raw_headers if header[0] != _LENGTH)
    return head + _DEFAULT, bytes(response.body)


class FastLane(GuardedConnection):
    """For `uvicorn.Config(http=...)`; with no endpoint in the lifespan's state it answers nothing itself."""

    _held: _Held | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        endpoint: Endpoint | None = self.app_state.get(STATE)
        token = self._plain(cycle, endpoint.path) if endpoint is not None else None
        if endpoint is not None and token is not None:
            self._held = _Held(cycle, app, endpoint, token, perf_counter())
        elif not self._probed(cycle):
            super()._start_asgi_task(cycle, app)

    def _probed(self, cycle: RequestResponseCycle) -> bool:
        scope: Any = cycle.scope
        probe: Probe | None = self.app_state.get(PROBE)
        if probe is None or self.url != probe.path.encode() or not cycle.keep_alive:
            return False
        if scope["method"] not in {"GET", "HEAD"}:
            return False
        started, body = perf_counter(), probe.body() if _clear(scope, _BODIED) else None
        if body is None:
            return False
        scope["nexmdm.route"] = probe.path
        self._reply(cycle, Origin(request_id(scope["headers"]), scope=scope), started, 200, (_OK, body))
        return True

    def _plain(self, cycle: RequestResponseCycle, path: str) -> str | None:
        """The bearer token of a request that has nothing odd about it, else None."""
        scope: Any = cycle.scope
        if self.url != path.encode() or scope["method"] != "POST":
            return None
        if not (cycle.more_body and cycle.keep_alive) or self.flow.write_paused:
            return None
        headers = _clear(scope, _ODD)
        if headers is None:
            return None
        length = headers.get(_LENGTH, b"")
        if headers.get(b"content-type") != b"application/json" or not length.isdigit():
            return None
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        return token.decode("latin-1") if scheme == b"Bearer" and int(length) <= JSON_LIMIT_BYTES else None

    def on_message_complete(self) -> None:
        super().on_message_complete()
        held, self._held = self._held, None
        if held is not None and not self._begin(held):
            super()._start_asgi_task(held.cycle, held.app)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._held is not None:  # the application logs that somebody left
            super()._start_asgi_task(self._held.cycle, self._held.app)

    def _begin(self, held: _Held) -> bool:
        scope: Any = held.cycle.scope
        source = Origin(request_id(scope["headers"]), scope=scope)
        lag: EventLoopLag | None = self.app_state.get(LAG)
        if lag is not None and lag.is_over_budget(held.started):
            scope["nexmdm.route"] = held.endpoint.path
            problem = reject_overloaded("heartbeats")
            self._refuse(held, source, problem)
            self._pause_reading(int(problem.headers["Retry-After"]))
            return True
        begun = held.endpoint.begin(held.token, bytes(held.cycle.body), scope["client"][0] if scope["client"] else None)
        if begun is None:
            return False
        scope["nexmdm.route"] = held.endpoint.path
        if isinstance(begun, Problem):
            self._refuse(held, source, begun)
            return True
        result, answer = begun
        result.add_done_callback(partial(self._finish, held, source, answer))
        return True

    def _refuse(self, held: _Held, source: Origin, problem: Problem) -> None:
        head, body = _rendered(problem.kind, *problem.headers.items())
        answer = head, body.replace(_ID, source.request_id.encode())
        self._reply(held.cycle, source, held.started, problem.status, answer)

    def _pause_reading(self, after_s: int) -> None:
        """Read nothing from whoever was told to wait for so long: what we do not read costs nothing.

        Else those who do not wait would be all that we have time for, and libuv, which goes on reading for as long as
        a thousand sockets are ready, would give nobody else a turn.
        """
        if not self.pipeline:
            self.flow.pause_reading()
            # Not all of them again in one turn.
            self.loop.call_later(after_s * random.uniform(0.5, 1.0), self._resume_reading)  # noqa: S311 - a pause is no secret

    def _resume_reading(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def _finish(
        self, held: _Held, source: Origin, answer: Callable[[Any], bytes | None], result: asyncio.Future[Any]
    ) -> None:
        before = origin.set(source)
        try:
            failed = result.cancelled() or result.exception() is not None
            body = None if failed else answer(result.result())
            if body is None:
                super()._start_asgi_task(held.cycle, held.app)
                return
            self._answer(held.cycle, source.request_id, _OK, body)
            record(held.cycle.scope, source, 200, perf_counter() - held.started)
        finally:
            origin.reset(before)

    def _reply(
        self, cycle: RequestResponseCycle, source: Origin, started: float, status: int, answer: tuple[bytes, bytes]
    ) -> None:
        """An answer, head and body, that is known at once; counted and logged."""
        before = origin.set(source)
        try:
            self._answer(cycle, source.request_id, *answer)
            record(cycle.scope, source, status, perf_counter() - started)
        finally:
            origin.reset(before)

    def _answer(self, cycle: RequestResponseCycle, given_id: str, head: bytes, body: bytes) -> None:
        """What `RequestResponseCycle.send` does for a whole answer."""
        cycle.response_started = cycle.response_complete = True
        if not cycle.disconnected:
            lines = b"".join(b"%b: %b\r\n" % header for header in cycle.default_headers)
            if not cycle.keep_alive:
                lines += b"connection: close\r\n"
            last = b"x-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (given_id.encode(), len(body))
            sent = b"" if cycle.scope["method"] == "HEAD" else body
            self.transport.write(b"".join((head, lines, last, sent)))
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
