"""Connections without a session around them, for statements that are their own transaction: one round trip each."""

from __future__ import annotations

from typing import Any, Protocol, Self

import asyncpg

from nexmdm.kernel.database import POOL_TIMEOUT_S, Database


class Fetches(Protocol):
    """Whatever runs one statement, with $1, $2, ..., and commits it: `Statements`, or the `Database`."""

    async def fetch(self, statement: str, *arguments: Any) -> list[Any]: ...


class NoConnectionError(TimeoutError):
    """All connections were in use for too long."""


class Statements:
    """Use as `async with Statements(db, most) as statements`.

    most: connections, opened when they are needed. wait_s: for one of them. lock_timeout_s: None: that of the database.
    """

    def __init__(
        self, db: Database, most: int, *, wait_s: float = POOL_TIMEOUT_S, lock_timeout_s: float | None = None
    ) -> None:
        self._db, self._most, self._wait_s, self._lock_timeout_s = db, most, wait_s, lock_timeout_s

    async def __aenter__(self) -> Self:
        self._pool = await asyncpg.create_pool(
            connect=self._connect,
            reset=_nothing,  # ours is never left in a transaction, and keeps its settings
            min_size=0,
            max_size=self._most,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def fetch(self, statement: str, *arguments: Any) -> list[Any]:
        """Its rows.

        Raises:
            NoConnectionError: all are in use; TimeoutError: the database did not answer; asyncpg.PostgresError.
        """
        try:
            connection = await self._pool.acquire(timeout=self._wait_s)
        except TimeoutError as error:
            if self._pool.get_size() < self._most:
                raise
            raise NoConnectionError from error
        try:
            rows: list[Any] = await connection.fetch(statement, *arguments)
        finally:
            await self._pool.release(connection)
        return rows

    async def _connect(self, *_: Any, **__: Any) -> asyncpg.Connection[Any]:
        connection = await self._db.connect()
        if self._lock_timeout_s is not None:
            await connection.execute(f"SET lock_timeout = '{self._lock_timeout_s}s'")
        return connection


async def _nothing(_connection: object) -> None:
    """What the pool does with a connection that comes back."""
