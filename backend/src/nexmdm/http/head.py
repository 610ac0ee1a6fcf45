"""HEAD wherever there is GET (RFC 9110, 9.3.2): the application answers it as GET, the server leaves out the body.

A path that has a HEAD of its own, because its GET does more than to read, keeps it.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from nexmdm.http.admission import FindRoute


class ImpliedHead:
    """`ImpliedHead(app, find_route)`: the scope that the application sees says GET, the server's own stays HEAD."""

    def __init__(self, app: ASGIApp, find_route: FindRoute) -> None:
        self._app, self._find_route = app, find_route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD" and self._find_route(scope) is None:
            scope = {**scope, "method": "GET", "nexmdm.method": "HEAD"}
        await self._app(scope, receive, send)
