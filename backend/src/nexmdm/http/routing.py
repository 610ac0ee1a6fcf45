"""Which route a path has, found at once: the framework asks one router after the other, twice, at 1 ms for the last."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import Request, Response
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from nexmdm.http.runtime import note_service

_FOUND: Final = "nexmdm.found"  # of the scope: the route that is to handle it


class Direct(Route):
    """A service's POSTs of one path, without the framework's dependencies and models.

    Of any other method, and of what that is told, the route that describes it decides.
    """

    def __init__(self, service: str, path: str, handle: Callable[[Request], Awaitable[Response]]) -> None:
        async def endpoint(request: Request) -> Response:
            note_service(request, service)
            request.scope["nexmdm.route"] = path
            return await handle(request)

        super().__init__(path, endpoint, methods=["POST"])


class Shortcut(BaseRoute):
    """The first route of all: goes to the one that takes the path. What it does not know the others are asked about."""

    def __init__(self) -> None:
        self._by_start: dict[str, list[BaseRoute]] = {}

    def add(self, path: str, route: BaseRoute) -> None:
        """Try the route for the paths of a template, after those that were added for it before."""
        self._by_start.setdefault(path.partition("{")[0], []).append(route)

    def add_router(self, included: BaseRoute) -> None:
        """Try the router that the application has included, for the paths of all its routes."""
        paths = (context.route.path for context in iter_route_contexts([included]) if isinstance(context.route, Route))
        for start in dict.fromkeys(path.partition("{")[0] for path in paths):
            self.add(start, included)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http":
            for route in self._by_start.get(_start_of(scope["path"], self._by_start), ()):
                match, child = route.matches(scope)
                if match is Match.FULL:
                    return match, {**child, _FOUND: route}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope[_FOUND].handle(scope, receive, send)


def _start_of(path: str, known: dict[str, list[BaseRoute]]) -> str:
    """The longest beginning that is known: the path itself, or up to one of its slashes."""
    while path and path not in known:
        path = path[: path.rfind("/", 0, -1) + 1]
    return path
