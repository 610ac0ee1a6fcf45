"""Admission control: ASGI middleware that limits how many requests wait for their answer at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nexmdm.kernel.load_shedding import reject_overloaded
from nexmdm.kernel.log import origin
from nexmdm.kernel.standing_queue import StandingQueue

# An operator who looks at an overloaded process must get an answer from it.
_EXEMPT: Final = frozenset({"/healthz", "/readyz", "/metrics"})

_LEAVE: Final = "nexmdm.leave"  # of the scope: takes the request out of the count

FindRoute = Callable[[Scope], str | None]


class Admission:
    """`Admission(app, most, find_route)`: at most so many requests between their arrival and their answer's first byte.

    standing: by path, the queue in which its requests wait; a refusal costs least here.
    A download that streams is no longer counted: a thousand that fetch at once must not shut everybody out.
    Unknown paths and methods pass, to be told 404 and 405, which costs less than to count them.
    """

    def __init__(
        self, app: ASGIApp, most: int, find_route: FindRoute, standing: Mapping[str, StandingQueue] | None = None
    ) -> None:
        self._app, self._most, self._find_route, self._standing = app, most, find_route, standing or {}
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _EXEMPT:
            await self._app(scope, receive, send)
            return
        queue = self._standing.get(scope["path"])
        full = "requests" if self._under_way >= self._most else queue.name if queue and queue.is_full() else None
        if full and (route := self._find_route(scope)) is not None:
            scope["nexmdm.route"] = route  # the router, which else says so, is not asked
            await reject_overloaded(full).response(origin.get().request_id)(scope, receive, send)
            return
        self._under_way += 1
        if queue:
            queue.enter()
        held = True

        def leave() -> None:
            nonlocal held
            if not held:
                return
            held = False
            self._under_way -= 1
            if queue:
                queue.leave()

        async def send_counted(message: Message) -> None:
            leave()
            await send(message)

        scope[_LEAVE] = leave
        try:
            await self._app(scope, receive, send_counted)
        finally:
            leave()


def leave_admission(scope: Scope) -> None:
    """No longer count a request that waits without a cost to others, under a limit of its own."""
    scope[_LEAVE]()
