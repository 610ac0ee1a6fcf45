"""The pulse: its own connection, one question at a time, an answer in bounded time; a restarted server is no fault."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from support.database import settings_for

from nexmdm.kernel.database import Database, is_unavailable
from nexmdm.operations import database_probe
from nexmdm.operations.database_probe import Pulse

OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    made = Database(settings_for(database_url, db_pool_size=1))
    yield made
    await made.aclose()


@pytest.fixture
async def taker(db: Database) -> AsyncIterator[Pulse]:
    made = Pulse(db)
    yield made
    await made.aclose()


async def test_it_does_not_wait_for_the_pool(db: Database, taker: Pulse) -> None:
    async with db.engine.connect(), asyncio.timeout(1):
        await taker.take()


async def test_a_crowd_of_probes_costs_one_connection(taker: Pulse, connection: asyncpg.Connection[Any]) -> None:
    await asyncio.gather(*(taker.take() for _ in range(100)))
    await taker.take()
    assert await connection.fetchval(f"SELECT count(*) {OTHERS}") == 1


async def test_a_connection_that_the_server_has_ended_is_no_outage(
    taker: Pulse, connection: asyncpg.Connection[Any]
) -> None:
    await taker.take()
    await connection.execute(f"SELECT pg_terminate_backend(pid) {OTHERS}")
    await taker.take()


async def test_a_server_that_hangs_is_one_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_probe, "TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as frozen:  # the kernel takes the connection, and nobody answers
        port = frozen.getsockname()[1]
        db = Database(settings_for(f"postgresql://nobody@127.0.0.1:{port}/none"))
        async with asyncio.timeout(2):
            with pytest.raises(TimeoutError) as late:
                await Pulse(db).take()
    assert is_unavailable(late.value)
