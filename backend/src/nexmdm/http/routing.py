"""Which route a path has, found at once: the framework would ask one route after the other."""

from __future__ import annotations

from collections.abc import Container, Iterator

from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from nexmdm.http.problems import SERVICE_UNAVAILABLE
from nexmdm.http.runtime import SERVICE
from nexmdm.kernel.problems import Problem


class Shortcut(BaseRoute):
    """The first route of all: goes to the one that takes the request, on behalf of its service.

    It knows every route. Those after it can only answer 404 or 405.
    """

    def __init__(self, switched_on: Container[str]) -> None:
        self._on = switched_on
        self._by_start: dict[str, list[tuple[str, Route]]] = {}
        self._longest = 0  # of these beginnings

    def add(self, service: str, route: Route) -> None:
        """Try the route of the service for the paths of its template, after those that were added for them before.

        Raises:
            ValueError: the first parameter of the template begins within a segment.
        """
        start, parameter, _ = route.path.partition("{")
        if parameter and not start.endswith("/"):
            raise ValueError(f"{route.path}: a parameter must begin a segment")
        self._by_start.setdefault(start, []).append((service, route))
        self._longest = max(self._longest, len(start))

    def template(self, scope: Scope) -> str | None:
        """The path template of the route that would take the request."""
        _, child = self.matches(scope)
        return child["route"].path_format if child else None

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http":
            for start in _starts(scope["path"], self._longest):
                for service, route in self._by_start.get(start, ()):
                    match, child = route.matches(scope)
                    if match is Match.FULL:
                        return match, {**child, "route": route, SERVICE: service}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge no credential for a service that is switched off.

        Raises:
            Problem: SERVICE_UNAVAILABLE.
        """
        if scope[SERVICE] not in self._on:
            raise Problem(SERVICE_UNAVAILABLE)
        await scope["route"].handle(scope, receive, send)


def _starts(path: str, longest: int) -> Iterator[str]:
    """The path itself, then what it begins with, up to each slash from the last that is near enough to matter."""
    yield path
    path = path[: longest + 1]  # a path may have 60,000 slashes
    while path := path[: path.rfind("/", 0, -1) + 1]:
        yield path
