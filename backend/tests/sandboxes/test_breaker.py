"""The circuit breaker: what counts, what does not, and that its probe is won once."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from support.database import settings_for

from nexmdm.kernel.database import Database
from nexmdm.sandboxes import breaker
from nexmdm.sandboxes.breaker import CircuitOpen

SETTINGS = settings_for("postgresql://unused", breaker_failures=3, breaker_open_s=60)


async def heard(db: Database, *statuses: int | None, probe: breaker.Probe = None) -> None:
    for status in statuses:
        await breaker.heard(db, SETTINGS, status, probe)


async def is_open(db: Database) -> bool:
    try:
        await breaker.check(db)
    except CircuitOpen:
        return True
    return False


async def test_who_is_refused_hears_for_how_long(db: Database) -> None:
    await heard(db, 500, 500, 500)
    with pytest.raises(CircuitOpen) as refused:
        await breaker.check(db)
    assert 59 <= refused.value.retry_after_s <= 60


@pytest.mark.parametrize(
    "statuses,opens",
    [
        ((None, 500, 503), True),
        ((500, 500), False),
        ((500, 500, 200, 500, 500), False),
        ((500, 404, 401, 429, 500), False),  # no failures
        ((500, 404, 500, 302, 500), True),  # and no successes
        ((404, 404, 404, 404), False),
    ],
    ids=str,
)
async def test_failures_in_a_row_open_it(statuses: tuple[int | None, ...], opens: bool, db: Database) -> None:
    await heard(db, *statuses)
    assert await is_open(db) is opens


async def opened(db: Database, connection: asyncpg.Connection[Any]) -> None:
    await heard(db, 500, 500, 500)
    await connection.execute("UPDATE breaker SET open_until = now()")


async def test_the_probe_is_won_once(db: Database, connection: asyncpg.Connection[Any]) -> None:
    assert await breaker.probe(db, SETTINGS) is None
    await heard(db, 500, 500, 500)
    assert await breaker.probe(db, SETTINGS) is None
    await connection.execute("UPDATE breaker SET open_until = now()")
    won = await asyncio.gather(*(breaker.probe(db, SETTINGS) for _ in range(8)))
    assert sum(probe is not None for probe in won) == 1
    assert await is_open(db)


@pytest.mark.parametrize("status,opens,lasts", [(200, False, False), (500, True, True), (404, True, False)])
async def test_its_answer_decides(
    status: int, opens: bool, lasts: bool, db: Database, connection: asyncpg.Connection[Any]
) -> None:
    await opened(db, connection)
    probe = await breaker.probe(db, SETTINGS)
    await heard(db, status, probe=probe)
    assert await is_open(db) is opens
    another = await breaker.probe(db, SETTINGS)
    assert (another is None) is (lasts or not opens)


async def test_a_probe_that_is_lost_is_followed_by_another(db: Database, connection: asyncpg.Connection[Any]) -> None:
    await opened(db, connection)
    lost = await breaker.probe(db, SETTINGS)
    held_s = await connection.fetchval("SELECT extract(epoch FROM open_until - now()) FROM breaker")
    assert SETTINGS.provider_timeout_s < held_s <= SETTINGS.provider_timeout_s + 10
    await connection.execute("UPDATE breaker SET open_until = now()")
    probe = await breaker.probe(db, SETTINGS)
    assert probe is not None
    await heard(db, 200, 500, probe=lost)
    assert await is_open(db), "its answer counts no more"
    await heard(db, 200, probe=probe)
    assert not await is_open(db)


async def test_an_answer_to_a_call_from_before_changes_nothing(db: Database) -> None:
    await heard(db, 500, 500, 500)
    await heard(db, 200, 500)
    assert await is_open(db)
