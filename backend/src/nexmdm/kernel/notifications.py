"""LISTEN on a connection of its own. A notification can be lost: a listener must look by itself, too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

import asyncpg

from nexmdm.kernel.database import Database

OUTAGE_PAUSE_S: Final = 0.5


async def listen(db: Database, channel: str, wake: Callable[[str], None]) -> NoReturn:
    """Call `wake` with what each notification says, and with "" when a connection is there, until cancelled."""
    while True:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            await _listen(db, channel, wake)
        await asyncio.sleep(OUTAGE_PAUSE_S)


async def _listen(db: Database, channel: str, wake: Callable[[str], None]) -> None:
    connection = await db.connect()
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    try:
        await connection.add_listener(channel, lambda *given: wake(str(given[-1])))
        wake("")  # what there was to be told before we listened
        await lost.wait()
    finally:
        connection.terminate()
