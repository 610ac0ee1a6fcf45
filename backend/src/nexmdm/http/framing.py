"""Requests that two parties could read in two ways: refused before anything of them is done (RFC 9112, section 11.2).

A proxy in front of us may see such a request end elsewhere than we do; what it took for a body would then run as the
next request. httptools refuses most of it by itself; this is what it lets pass. It reads no body and knows no route.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from nexmdm.http.problems import MALFORMED_REQUEST
from nexmdm.kernel.log import origin
from nexmdm.kernel.problems import Problem


def is_clear(scope: Mapping[str, Any]) -> bool:
    """HTTP/1.1 with one Host, or 1.0 with no second; no transfer coding but `chunked`, once, and in 1.1 only."""
    headers = scope["headers"]
    hosts = sum(name == b"host" for name, _ in headers)
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    if scope["http_version"] == "1.1":
        return hosts == 1 and codings in ([], [b"chunked"])
    return scope["http_version"] == "1.0" and hosts <= 1 and not codings


class Framing:
    """`Framing(app)`: the application sees clear requests only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_clear(scope):
            refusal = Problem(MALFORMED_REQUEST, headers={"Connection": "close"})
            await refusal.response(origin.get().request_id)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
