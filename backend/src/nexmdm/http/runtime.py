"""What a request finds in the running application: settings, database, its service and the state of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Final, TypeVar

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from nexmdm.http.failed_auth import BlockedAddresses
from nexmdm.kernel.database import Database
from nexmdm.kernel.rights import Rights
from nexmdm.kernel.settings import Settings

T = TypeVar("T")
SERVICE: Final = "nexmdm.service"  # of the scope: the name of the service that the route belongs to


@dataclass(frozen=True)
class Runtime:
    """One per process and event loop. Each service's lifespan adds its state, which is found by its type."""

    settings: Settings
    db: Database
    blocked_addresses: BlockedAddresses
    rights: Rights  # what the service's database role must have
    stopping: asyncio.Event = field(default_factory=asyncio.Event)  # what waits is to be answered now
    _states: dict[type, object] = field(default_factory=dict)

    def add(self, state: object) -> None:
        """Keep a service's state until the end."""
        self._states[type(state)] = state

    def state(self, kind: type[T]) -> T:
        """The state of a service. TypeError where no service has added one of this type."""
        found = self._states.get(kind)
        if not isinstance(found, kind):
            raise TypeError(f"the runtime has no {kind.__name__}")
        return found


def runtime(request: Request) -> Runtime:
    """The Runtime of the application that serves the request."""
    found: Runtime = request.app.state.runtime
    return found


def database(request: Request) -> Database:
    """The Database of the application that serves the request."""
    return runtime(request).db


def service_of(request: Request) -> str:
    """The name of the service that the route belongs to."""
    name: str = request.scope[SERVICE]
    return name


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    async with database(request).sessions() as session:
        yield session
        await session.commit()


# Commits before the answer is sent, so that a client that has its answer reads its own writes.
Session = Annotated[AsyncSession, Depends(_session, scope="function")]
