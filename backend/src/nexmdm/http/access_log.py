"""One ASGI middleware around everything: request id, access line, metrics, security headers, last resort for errors.

It reads no body and knows no route; `logs.Origin` finds the path template once the router has matched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from time import perf_counter
from typing import Any, Final

from prometheus_client import Counter, Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nexmdm.http import metrics
from nexmdm.http.events import HTTP_REQUEST, UNHANDLED_EXCEPTION
from nexmdm.kernel.log import Origin, emit, new_id, origin
from nexmdm.kernel.problems import INTERNAL_ERROR, Problem

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
DEFAULT_HEADERS: Final[Sequence[tuple[bytes, bytes]]] = (  # where the route has not set its own
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
ANSWER_HEADERS: Final = "nexmdm.headers"  # of the scope: what the answer has, whatever becomes of the request
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The one X-Request-ID of the request where it is well formed, else a new one."""
    given = [value.decode("latin-1") for name, value in headers if name == b"x-request-id"]
    return given[0] if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) else new_id()


@cache  # its arguments are few: route templates, a closed set of methods, documented statuses
def _counters(route: str, method: str, status: str) -> tuple[Counter, Histogram]:
    return metrics.http_requests.labels(route, method, status), metrics.http_duration.labels(route, method)


class Telemetry:
    """`Telemetry(app)`: the outermost layer, so that refusals of the framework are seen too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        source = Origin(request_id(scope["headers"]), scope=scope)
        token = origin.set(source)
        started = perf_counter()
        status = 0

        async def send_stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", source.request_id.encode()),
                    *((name.encode(), value.encode()) for name, value in scope.get(ANSWER_HEADERS, {}).items()),
                    *(header for header in DEFAULT_HEADERS if header[0] not in given),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_stamped)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        except Exception as error:
            # The type alone: the text of an exception may hold what a caller sent.
            emit(UNHANDLED_EXCEPTION, "error", error=where_raised(error))
            if status:
                raise
            await Problem(INTERNAL_ERROR).response(source.request_id)(scope, receive, send_stamped)
        finally:
            record(scope, source, status, perf_counter() - started)
            origin.reset(token)


def record(scope: Mapping[str, Any], source: Origin, status: int, elapsed_s: float) -> None:
    """Count and log one request. Status 0: the client left before it had an answer."""
    asked = scope.get("nexmdm.method") or scope["method"]  # a HEAD that is answered as GET
    method = asked if asked in _METHODS else "OTHER"  # labels must stay few
    requests, duration = _counters(source.route, method, str(status))
    requests.inc()
    duration.observe(elapsed_s)
    emit(
        HTTP_REQUEST,
        "error" if status >= 500 else "info",
        method=method,
        status=status,
        duration_ms=round(elapsed_s * 1000, 3),
        ip=scope["client"][0] if scope.get("client") else None,
    )


def where_raised(error: BaseException) -> str:
    """`TypeName at module:line`, enough to find the bug with."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{where}"
