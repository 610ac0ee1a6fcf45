"""The queue that dispatchers share: how much waits in it. `dispatch_states` claims and moves its rows."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from nexmdm.fleet.dispatch_states import UNSENT
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
    [row] = await db.run(_BACKLOG)
    return row.waiting, row.oldest_s
