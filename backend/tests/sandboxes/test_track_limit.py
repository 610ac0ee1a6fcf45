"""The rate limit of a track: the first hits of a second cost no statement, the rest are counted for all processes."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from support.database import settings_for

from nexmdm.kernel.database import Database
from nexmdm.kernel.problems import Problem
from nexmdm.kernel.settings import Limit
from nexmdm.sandboxes import track_limit
from nexmdm.sandboxes.track_limit import TrackLimit

LIMIT = Limit(200, 86_400)  # so that no window ends during a test


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, in its one element."""
    now = [1000.0]
    monkeypatch.setattr(track_limit, "monotonic", lambda: now[0])
    return now


def test_the_first_ten_of_a_second_are_alone(db: Database, clock: list[float]) -> None:
    limit = TrackLimit(db, LIMIT)
    assert [limit.alone("t") for _ in range(12)] == [True] * 10 + [False] * 2
    assert limit.alone("another")
    clock[0] += 1
    assert [limit.alone("t") for _ in range(11)] == [True] * 10 + [False]


def test_a_limit_below_ten_is_shared_from_its_last_hit_on(db: Database, clock: list[float]) -> None:
    limit = TrackLimit(db, Limit(3, 60))
    assert [limit.alone("t") for _ in range(5)] == [True] * 3 + [False] * 2


def test_a_hit_that_was_taken_back_was_none(db: Database, clock: list[float]) -> None:
    limit = TrackLimit(db, LIMIT)
    for _ in range(50):
        assert limit.alone("t")
        limit.take_back("t")
    limit.take_back("nobody")
    assert limit.headers("t") == {"X-RateLimit-Limit": "200", "X-RateLimit-Remaining": "200"}


def test_the_headers_count_down_to_nothing(db: Database, clock: list[float]) -> None:
    limit = TrackLimit(db, LIMIT)
    left = []
    for _ in range(202):
        limit.alone("t")
        left.append(int(limit.headers("t")["X-RateLimit-Remaining"]))
    assert left == [*range(199, -1, -1), 0, 0]


async def test_of_400_hits_at_once_through_two_processes_220_pass(
    database_url: str, connection: asyncpg.Connection[Any], clock: list[float]
) -> None:
    processes = [Database(settings_for(database_url)) for _ in range(2)]
    limits = [TrackLimit(db, LIMIT) for db in processes]

    async def hit(limit: TrackLimit) -> None:
        if not limit.alone("t"):
            await limit.shared("t")

    answers = await asyncio.gather(*(hit(limits[n % 2]) for n in range(400)), return_exceptions=True)
    assert answers.count(None) == 220
    assert {answer.code for answer in answers if isinstance(answer, Problem)} == {"rate_limited"}
    assert await connection.fetchval("SELECT hits FROM rate_limits WHERE rule = 'track' AND subject = 't'") == 200
    for db in processes:
        await db.aclose()


async def test_ten_a_second_write_no_row(db: Database, connection: asyncpg.Connection[Any], clock: list[float]) -> None:
    limit = TrackLimit(db, LIMIT)
    for _ in range(5):
        for _hit in range(10):
            assert limit.alone("t")
        clock[0] += 1
    assert await connection.fetchval("SELECT count(*) FROM rate_limits") == 0
