"""Counts of the pool: who shares one, how old it may be, and what a caller that leaves or a failure does to others."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event
from sqlalchemy.exc import ProgrammingError
from support.sandboxes import store_sandbox

from nexmdm.kernel.database import Database
from nexmdm.sandboxes import counts
from nexmdm.sandboxes.counts import PoolCounts

WAITING = "SELECT count(*) FROM pg_locks WHERE relation = 'sandboxes'::regclass AND NOT granted"
A_MINUTE_S = 60.0


@pytest.fixture
def statements(db: Database) -> list[str]:
    """Every statement that `db` sends."""
    sent: list[str] = []
    event.listen(db.engine.sync_engine, "before_cursor_execute", lambda *call: sent.append(call[2]))
    return sent


async def one_begun(counts: PoolCounts, connection: asyncpg.Connection[Any]) -> asyncio.Task[Any]:
    """A count that waits for the table, which the connection's transaction holds."""
    await connection.execute("LOCK TABLE sandboxes")
    first = asyncio.create_task(counts.read())
    async with asyncio.timeout(5):
        while await connection.fetchval(WAITING) == 0:
            pass
    return first


async def joined(counts: PoolCounts) -> list[asyncio.Task[Any]]:
    others = [asyncio.create_task(counts.read()) for _ in range(20)]
    await asyncio.sleep(0)
    return others


@pytest.mark.parametrize("every_s,expected", [(0.0, 2), (A_MINUTE_S, 1)])
async def test_who_asks_during_a_count_shares_it_or_the_next(
    every_s: float, expected: int, db: Database, connection: asyncpg.Connection[Any], statements: list[str]
) -> None:
    pool = PoolCounts(db, every_s)
    async with connection.transaction():
        first = await one_begun(pool, connection)
        others = await joined(pool)
        await store_sandbox(connection, "late")
    seen = [count.by_status["available"] for count in await asyncio.gather(first, *others)]
    assert len(statements) == expected
    assert set(seen[1:]) == {1}, "no answer is older than its question"


@pytest.mark.parametrize(
    "took_s,good_for_s",
    [(0.0, 2.0), (0.1, 10.0), (5.0, 20.0)],
    ids=["the period", "1 % of its time", "ten periods at most"],
)
async def test_an_answer_is_never_older_than_it_may_be(
    took_s: float, good_for_s: float, db: Database, connection: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = began = 1000.0
    monkeypatch.setattr(counts, "monotonic", lambda: now)
    pool = PoolCounts(db, 2.0)
    async with connection.transaction():
        first = await one_begun(pool, connection)
        now += took_s
    assert (await first).by_status["available"] == 0
    await store_sandbox(connection, "one")
    now = began + good_for_s - 0.01
    assert (await pool.read()).by_status["available"] == 0
    now = began + good_for_s + 0.1
    assert (await pool.read()).by_status["available"] == 1


async def test_a_caller_that_leaves_takes_no_count_away(
    db: Database, connection: asyncpg.Connection[Any], statements: list[str]
) -> None:
    pool = PoolCounts(db, A_MINUTE_S)
    async with connection.transaction():
        first = await one_begun(pool, connection)
        others = await joined(pool)
        first.cancel()
        await asyncio.sleep(0)
    assert [count.by_status["available"] for count in await asyncio.gather(*others)] == [0] * 20
    assert len(statements) == 1


async def test_a_failure_is_told_to_all_who_share_it_and_to_nobody_after_them(
    db: Database, connection: asyncpg.Connection[Any], statements: list[str]
) -> None:
    pool = PoolCounts(db, 0)
    async with connection.transaction():
        first = await one_begun(pool, connection)
        others = await joined(pool)
        await connection.execute("ALTER TABLE sandboxes RENAME TO elsewhere")
    failed = await asyncio.gather(first, *others, return_exceptions=True)
    assert {type(error) for error in failed} == {ProgrammingError}
    assert len(statements) == 2
    await connection.execute("ALTER TABLE elsewhere RENAME TO sandboxes")
    assert (await pool.read()).by_status["available"] == 0


async def test_a_failure_that_took_long_is_told_for_no_longer(
    db: Database, connection: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = began = 1000.0
    monkeypatch.setattr(counts, "monotonic", lambda: now)
    pool = PoolCounts(db, 2.0)
    async with connection.transaction():
        first = await one_begun(pool, connection)
        await connection.execute("ALTER TABLE sandboxes RENAME TO elsewhere")
        now += 1.0
    with pytest.raises(ProgrammingError):
        await first
    await connection.execute("ALTER TABLE elsewhere RENAME TO sandboxes")
    now = began + 2.1
    assert (await pool.read()).by_status["available"] == 0
