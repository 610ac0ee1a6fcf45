"""What operations keep while the application runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from fastapi import Request

from nexmdm.http.runtime import Runtime, runtime
from nexmdm.operations.database_probe import Pulse


@dataclass(frozen=True, slots=True)
class Operations:
    """One per process."""

    pulse: Pulse


def operations(request: Request) -> Operations:
    """The operations of the application that serves the request."""
    return runtime(request).state(Operations)


@asynccontextmanager
async def lifespan(running: Runtime) -> AsyncIterator[Operations]:
    """Hold the connection of the liveness probe."""
    async with aclosing(Pulse(running.db)) as pulse:
        yield Operations(pulse)
