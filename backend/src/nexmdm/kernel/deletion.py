"""Deletion of old rows in short transactions, so that no request waits for their locks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncEngine

_BATCH: Final = 1000  # rows: short transactions, so that nobody waits for a lock of ours


def deletion(statement: TextClause) -> Callable[[AsyncEngine, datetime, datetime], Awaitable[tuple[int, bool]]]:
    """Run a DELETE with `:batch`, and `:cutoff` and `:now` where it has them, until nothing is left to delete.

    Returns: a function of engine, cutoff and now that gives how many rows went, and True.
    """

    async def delete(engine: AsyncEngine, cutoff: datetime, now: datetime) -> tuple[int, bool]:
        deleted = 0
        given = {"cutoff": cutoff, "now": now, "batch": _BATCH}
        parameters = {name: value for name, value in given.items() if f":{name}" in statement.text}
        while True:
            async with engine.begin() as connection:
                batch = (await connection.execute(statement, parameters)).rowcount
            deleted += batch
            if batch < _BATCH:
                return deleted, True

    return delete
