"""What the platform keeps while the application runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from fastapi import Request

from nexmdm.http.runtime import Runtime, runtime
from nexmdm.kernel.database import POOL_TIMEOUT_S
from nexmdm.kernel.settings import narrow
from nexmdm.kernel.statements import Statements
from nexmdm.platform.claims import WaitingClaims
from nexmdm.platform.connectors import Connectors
from nexmdm.platform.contents import Contents
from nexmdm.platform.object_store import ObjectStore
from nexmdm.platform.settings import PlatformSettings
from nexmdm.platform.streams import Streams
from nexmdm.platform.turns import Turns
from nexmdm.platform.zone_row import within


@dataclass(frozen=True, slots=True)
class Platform:
    """One per process."""

    settings: PlatformSettings
    statements: Statements
    contents: Contents
    streams: Streams
    turns: Turns
    claims: WaitingClaims
    connectors: Connectors

    def within(self, zone_id: str, begin: str = "BEGIN") -> AbstractAsyncContextManager[asyncpg.Connection[Any]]:
        """A transaction that sees this zone alone."""
        return within(self.statements, zone_id, begin)

    @asynccontextmanager
    async def changing(self, zone_id: str) -> AsyncIterator[asyncpg.Connection[Any]]:
        """The same, of what ends with a change of the zone's row: of one zone few at a time."""
        async with self.turns.turn(zone_id), self.within(zone_id) as tx:
            yield tx


def platform(request: Request) -> Platform:
    """The platform of the application that serves the request."""
    return runtime(request).state(Platform)


@asynccontextmanager
async def lifespan(running: Runtime) -> AsyncIterator[Platform]:
    """Start what the platform needs; end it after the last request."""
    settings = narrow(running.settings, PlatformSettings)
    async with (
        Statements(running.db, settings.db_pool_size) as statements,
        WaitingClaims(running.db, settings.platform_claims_waiting, running.stopping) as claims,
    ):
        contents = Contents(statements, ObjectStore.of(settings), settings.platform_pin_s)
        # Of the connections of a process one zone has less than half.
        turns = Turns(max(1, (settings.db_pool_size - 1) // 2), POOL_TIMEOUT_S)
        yield Platform(
            settings, statements, contents, Streams(settings.platform_streams), turns, claims, Connectors(settings)
        )
