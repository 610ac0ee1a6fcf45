"""Rate limits: exact under concurrency, across processes, and forgetful after their window."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from support.database import settings_for

from nexmdm.kernel import rate_limits
from nexmdm.kernel.database import Database
from nexmdm.kernel.problems import Problem
from nexmdm.kernel.settings import Limit

A_DAY = Limit(hits=100, window_s=86_400)  # so that no window ends during a test


async def test_of_400_concurrent_hits_exactly_the_limit_passes(database_url: str) -> None:
    one, two = Database(settings_for(database_url)), Database(settings_for(database_url))

    hits = [rate_limits.hit(db, "rule", "subject", A_DAY) for db in (one, two) for _ in range(200)]
    answers = await asyncio.gather(*hits, return_exceptions=True)
    refusals = [answer for answer in answers if isinstance(answer, Problem)]
    assert answers.count(None) == 100
    assert len(refusals) == 300
    assert {refusal.code for refusal in refusals} == {"rate_limited"}
    assert all(int(refusal.headers["Retry-After"]) > 0 for refusal in refusals)
    await one.aclose()
    await two.aclose()


async def test_subjects_and_rules_are_counted_apart(database_url: str) -> None:
    db = Database(settings_for(database_url))
    once = Limit(1, 86_400)
    await rate_limits.hit(db, "rule", "a", once)
    await rate_limits.hit(db, "rule", "b", once)
    await rate_limits.hit(db, "other", "a", once)
    with pytest.raises(Problem):
        await rate_limits.hit(db, "rule", "a", once)
    await db.aclose()


@pytest.mark.parametrize("windows_ago,passes", [(0, False), (1, False), (2, True)])
async def test_a_full_window_weighs_on_the_next_and_no_longer(
    database_url: str, connection: asyncpg.Connection[Any], windows_ago: int, passes: bool
) -> None:
    # So many that whatever share of the previous window still overlaps is too much.
    await connection.execute(
        "INSERT INTO rate_limits (rule, subject, window_start, hits, prior_hits)"
        " VALUES ('rule', 'subject', date_bin('1 hour', now(), timestamptz 'epoch') - $1 * interval '1 hour', $2, 0)",
        windows_ago,
        10_000_000,
    )
    db = Database(settings_for(database_url))
    (answer,) = await asyncio.gather(rate_limits.hit(db, "rule", "subject", Limit(100, 3600)), return_exceptions=True)
    assert (answer is None) == passes
    await db.aclose()
