"""The pool of one process: what it asks of the server, and what becomes of connections that are lost."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event, exc, text

from nexmdm.kernel import database, metrics
from nexmdm.kernel.database import Database

PID = text("SELECT pg_backend_pid()")
ENDED = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture
def asked(db: Database) -> list[str]:
    """What the pool's connections send beside prepared statements, once they are made."""
    said: list[str] = []

    def listen(connection: Any, _record: Any) -> None:
        connection.driver_connection.add_query_logger(lambda query: said.append(query.query))

    event.listen(db.engine.sync_engine, "connect", listen)
    return said


def in_use() -> float:
    found = re.search(r"^nexmdm_db_pool_in_use (\S+)$", metrics.page().decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])


async def pids(db: Database, count: int) -> set[int]:
    """Those of so many connections that are taken at once."""
    async with AsyncExitStack() as stack:
        taken = [await stack.enter_async_context(db.engine.connect()) for _ in range(count)]
        return {(await one.execute(PID)).scalar_one() for one in taken}


async def test_one_statement_is_one_round_trip(db: Database, asked: list[str]) -> None:
    await db.run(PID)
    asked.clear()
    await db.run(PID)
    await db.fetch("SELECT $1::int", 1)
    assert asked == [], "more than the prepared statement itself"
    async with db.engine.begin() as connection:
        await connection.execute(PID)
    assert [query.split()[0].rstrip(";") for query in asked] == ["BEGIN", "COMMIT"]


async def test_one_that_idled_is_asked_whether_it_is_there(
    db: Database, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await db.run(PID)
    asked.clear()
    monkeypatch.setattr(database, "_TRUSTED_S", 0.0)
    await db.run(PID)
    assert ";" in asked


@pytest.mark.parametrize("trusted_s", [0.0, 60.0], ids=["idle", "just used"])
async def test_a_server_that_was_restarted_costs_no_caller_an_error(
    trusted_s: float, db: Database, connection: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await pids(db, 3)
    monkeypatch.setattr(database, "_TRUSTED_S", trusted_s)
    await connection.execute(ENDED)
    await asyncio.sleep(0)
    assert not before & await pids(db, 3)
    assert in_use() == 0


async def test_one_that_does_not_answer_is_replaced(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    [before] = await pids(db, 1)
    monkeypatch.setattr(database, "_TRUSTED_S", 0.0)

    def lost(_connection: Any) -> bool:
        monkeypatch.undo()
        raise db.engine.dialect.loaded_dbapi.InterfaceError("connection was closed in the middle of operation")

    monkeypatch.setattr(db.engine.dialect, "do_ping", lost)
    assert await pids(db, 1) != {before}


async def test_a_server_that_is_away_leaves_none_in_use(
    db: Database, connection: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await pids(db, 2)
    await connection.execute(ENDED)
    monkeypatch.setattr(db, "url", "postgresql://nobody@127.0.0.1:1/none")
    for _ in range(3):
        with pytest.raises((OSError, exc.SQLAlchemyError)) as away:
            await db.run(PID)
        assert database.is_unavailable(away.value)
    assert in_use() == 0
