"""What a service implements to be answered on the HTTP fast path, without an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from nexmdm.kernel.problems import Problem

Begun = tuple["asyncio.Future[Any]", Callable[[Any], bytes | None]]


class Endpoint(Protocol):
    """What the lane serves: POSTs to `path`."""

    path: str

    def begin(self, token: str, body: bytes, ip: str | None) -> Begun | Problem | None:
        """The result to come, and what makes the JSON answer of it; None, from either: the application answers."""
        ...


class Probe(Protocol):
    """GETs and HEADs of `path`, answered in the turn that reads them: a full event loop still has an answer."""

    path: str

    def body(self) -> bytes | None:
        """The JSON of a 200; None: the application answers."""
        ...
