"""Connections without a session around them, for statements that are their own transaction: one round trip each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, Self

import asyncpg

from nexmdm.kernel.database import POOL_TIMEOUT_S, Database


class Fetches(Protocol):
    """Whatever runs one statement, with $1, $2, ..., and commits it: `Statements`, or the `Database`."""

    async def fetch(self, statement: str, *arguments: Any) -> list[Any]: ...


_IDLE_S: Final = 30.0  # after which a connection is given back to the server


class NoConnectionError(TimeoutError):
    """All connections were in use for too long."""


class Statements:
    """Use as `async with Statements(db, most) as statements`.

    most: connections, opened when they are needed. wait_s: for one of them. session: SQL that each begins with.
    """

    def __init__(self, db: Database, most: int, *, wait_s: float = POOL_TIMEOUT_S, session: str = "") -> None:
        self._db, self._most, self._wait_s, self._session = db, most, wait_s, session

    async def __aenter__(self) -> Self:
        self._pool = await asyncpg.create_pool(
            connect=self._connect,
            reset=_nothing,  # ours is never left in a transaction, and keeps its settings
            min_size=0,
            max_inactive_connection_lifetime=_IDLE_S,
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
        async with self._connection() as connection:
            rows: list[Any] = await connection.fetch(statement, *arguments)
            return rows

    @asynccontextmanager
    async def transaction(self, begin: str = "BEGIN") -> AsyncIterator[asyncpg.Connection[Any]]:
        """A connection within a transaction, which is committed at the end and undone by whatever is raised.

        begin: SQL of ours that opens it, in the same round trip as what it sets. Raises as `fetch` does.
        """
        async with self._connection() as connection:
            try:
                await connection.execute(begin)
                yield connection
                await connection.execute("COMMIT")
            except BaseException:
                await _undo(connection)
                raise

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        try:
            connection = await self._pool.acquire(timeout=self._wait_s)
        except TimeoutError as error:
            if self._pool.get_size() < self._most:
                raise
            raise NoConnectionError from error
        try:
            yield connection
        finally:
            await self._pool.release(connection)

    async def _connect(self, *_: Any, **__: Any) -> asyncpg.Connection[Any]:
        connection = await self._db.connect()
        if self._session:
            await connection.execute(self._session)
        return connection


async def _undo(connection: asyncpg.Connection[Any]) -> None:
    """Leave the transaction; a connection that cannot is closed, so that nobody else gets it."""
    try:
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK")
    except BaseException:  # noqa: BLE001 - what failed before is the error to tell
        connection.terminate()


async def _nothing(_connection: object) -> None:
    """What the pool does with a connection that comes back."""
