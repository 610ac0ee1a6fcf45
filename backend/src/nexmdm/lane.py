"""The fast lane: routes that FastAPI describes and does not run, for what devices send by the thousand.

FastAPI's work around a route (matching, dependencies, a response model) costs several times what a heartbeat itself
does. A lane's endpoint is an async function from Request to Response; refusals become answers as they do elsewhere.
It holds no rule, and knows neither the endpoints nor how an error is answered: `app` hands both in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]
Refuse = Callable[[Request, Exception], Awaitable[Response]]


class FastLane:
    """Takes the requests of `endpoints`, by method and path, and leaves all others to `api`."""

    def __init__(self, api: ASGIApp, endpoints: Mapping[tuple[str, str], Endpoint], refuse: Refuse) -> None:
        """refuse: the answer to an exception; it raises what is nobody's refusal."""
        self._api, self._endpoints, self._refuse = api, endpoints, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if endpoint is None:
            await self._api(scope, receive, send)
            return
        scope["app"] = self._api
        scope["nexmdm.route"] = scope["path"]
        request = Request(scope, receive)
        try:
            response = await endpoint(request)
        except Exception as error:  # noqa: BLE001 - `refuse` raises it again where it is a bug
            response = await self._refuse(request, error)
        await response(scope, receive, send)
