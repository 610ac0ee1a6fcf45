"""The queue that dispatchers share: how much waits in it, and who is told of new work.

`dispatch_states` claims and moves its rows. NOTIFY says that there is work; a dispatcher must poll too, since a
notification can be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from sqlalchemy import text

from nexmdm.fleet.dispatch_states import NEW_WORK, UNSENT
from nexmdm.kernel.columns import sql_list
from nexmdm.kernel.database import Database

_BACKLOG: Final = text(
    f"""
    SELECT count(*) AS waiting, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float AS oldest_s
    FROM fcm_dispatches WHERE status IN {sql_list(UNSENT)}
    """  # noqa: S608 - composed of the constants above
)


async def backlog(db: Database) -> tuple[int, float]:
    """How many dispatches are not yet sent, and for how many seconds the oldest of them has waited."""
    async with db.engine.begin() as connection:
        row = (await connection.execute(_BACKLOG)).one()
    return row.waiting, row.oldest_s


async def listen(db: Database, wake: Callable[[], None]) -> None:
    """Call `wake` at once and at every notification, until the connection is lost.

    Raises:
        OSError, asyncpg.PostgresError: there is no connection to be had.
    """
    connection = await db.connect()
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    try:
        await connection.add_listener(NEW_WORK, lambda *_: wake())
        wake()  # what was queued before we listened
        await lost.wait()
    finally:
        connection.terminate()
