"""Too much to do: how a request is turned away early, and a bound on how many are under way. It queues nothing.

Whoever holds a bounded queue (`ingest`, `hashing`, `Admission`) turns away with `shed`. A crowd that was turned away
together must not come back together: every caller gets a Retry-After of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nexmdm import metrics
from nexmdm.errors import RETRY_AFTER_S, Problem
from nexmdm.logs import origin

# An operator who looks at an overloaded process must get an answer from it.
_EXEMPT: Final = frozenset({"/healthz", "/readyz", "/metrics"})

Queue = Literal["requests", "heartbeats", "bcrypt"]
FindRoute = Callable[[Scope], str | None]


def shed(queue: Queue, after_s: float = RETRY_AFTER_S) -> Problem:
    """The refusal by a queue that is full, counted; Retry-After is drawn from half to one and a half of `after_s`."""
    metrics.shed.labels(queue).inc()
    spread_s = after_s * random.uniform(0.5, 1.5)  # noqa: S311 - a pause is no secret
    return Problem("overloaded", headers={"Retry-After": str(max(1, round(spread_s)))})


class Admission:
    """`Admission(app, most, find_route)`: at most so many requests between their arrival and their answer's first byte.

    A download that streams is no longer counted: a thousand devices that fetch a build must not shut everybody out.
    Unknown paths and methods pass, to be told 404 and 405, which costs less than to count them.
    """

    def __init__(self, app: ASGIApp, most: int, find_route: FindRoute) -> None:
        self._app, self._most, self._find_route = app, most, find_route
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _EXEMPT:
            await self._app(scope, receive, send)
            return
        if self._under_way >= self._most and (route := self._find_route(scope)) is not None:
            scope["nexmdm.route"] = route  # the router, which else says so, is not asked
            await shed("requests").response(origin.get().request_id)(scope, receive, send)
            return
        self._under_way += 1
        held = True

        async def send_counted(message: Message) -> None:
            nonlocal held
            if held:
                held = False
                self._under_way -= 1
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        finally:
            self._under_way -= held
