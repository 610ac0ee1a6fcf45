"""Pages of other origins that may call the routes of a service (CORS): what is allowed, and the layer that says so.

A preflight asks for no credential. All other paths answer as if there were no such layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from nexmdm.kernel.settings import Settings

FindPath = Callable[[Scope], str | None]


@dataclass(frozen=True, slots=True)
class CrossOrigin:
    """What a service allows to pages of `origins`, by its settings; none: nobody may call."""

    origins: Callable[[Settings], Sequence[str]]
    methods: Sequence[str]
    request_headers: Sequence[str]
    exposed_headers: Sequence[str]
    max_age_s: int


class CrossOriginAnswers:
    """`CrossOriginAnswers(app, allowed, origins, find_path)`: find_path gives the template of a path of the service."""

    def __init__(self, app: ASGIApp, allowed: CrossOrigin, origins: Sequence[str], find_path: FindPath) -> None:
        self._app, self._find_path = app, find_path
        self._answering = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=allowed.methods,
            allow_headers=allowed.request_headers,
            expose_headers=allowed.exposed_headers,
            max_age=allowed.max_age_s,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = self._find_path(scope) if scope["type"] == "http" else None
        if path is None:
            await self._app(scope, receive, send)
            return
        scope["nexmdm.route"] = path  # no router will match a preflight
        await self._answering(scope, receive, send)
