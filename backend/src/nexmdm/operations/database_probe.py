"""Whether the database answers, asked on a connection of its own. It knows neither schema nor pool.

A probe that queued behind the requests of an overloaded process would say that it is dead, and have it restarted.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import asyncpg

from nexmdm.kernel.database import OUTAGES, Database

TIMEOUT_S: Final = 1.5  # below the limit of common probes, which is 2 to 5 s


class Pulse:
    """`await pulse.take()`: returns when the database has answered. Who asks meanwhile shares the answer."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._connection: asyncpg.Connection[Any] | None = None
        self._asking: asyncio.Task[None] | None = None

    async def take(self) -> None:
        """One round trip to the database.

        Raises:
            TimeoutError, or what else the driver says: it does not answer (`db.is_unavailable`).
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        await asyncio.shield(self._asking)  # a prober that hangs up must not fail the others

    async def aclose(self) -> None:
        """Hang up."""
        self._hang_up()

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if not await self._answered():  # a restarted server does not know the connection: a new one decides
                    self._hang_up()
                    self._connection = await self._db.connect()
                    await self._connection.execute("SELECT 1")
        except BaseException:
            self._hang_up()
            raise

    async def _answered(self) -> bool:
        if self._connection is None:
            return False
        try:
            await self._connection.execute("SELECT 1")
        except OUTAGES:
            return False
        return True

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()
