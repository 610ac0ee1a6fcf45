"""Rate limits that hold across workers and replicas: one statement, one row per rule and subject. It keeps no memory.

A sliding window: the hits of the current window plus the share of the previous one that still overlaps. The row lock
of the upsert decides between racers, so 400 concurrent hits at a limit of 100 give exactly 100. A refused hit writes
nothing.
"""

from __future__ import annotations

import math
from typing import Final

from sqlalchemy import text

from nexmdm.kernel import metrics
from nexmdm.kernel.database import Database
from nexmdm.kernel.events import TOKEN_RATELIMIT
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import RATE_LIMITED, Problem
from nexmdm.kernel.settings import Limit

_HIT: Final = text(
    """
    WITH clock AS (
        SELECT now() AS at, date_bin(make_interval(secs => :window), now(), timestamptz 'epoch') AS opened
    )
    INSERT INTO rate_limits AS r (rule, subject, window_start, hits, prior_hits)
    SELECT :rule, :subject, opened, 1, 0 FROM clock
    ON CONFLICT (rule, subject) DO UPDATE SET
        window_start = excluded.window_start,
        hits = CASE WHEN r.window_start >= excluded.window_start THEN r.hits + 1 ELSE 1 END,
        prior_hits = CASE
            WHEN r.window_start >= excluded.window_start THEN r.prior_hits
            WHEN r.window_start = excluded.window_start - make_interval(secs => :window) THEN r.hits
            ELSE 0
        END
    WHERE :limit > CASE
        WHEN r.window_start >= excluded.window_start
            THEN r.hits + r.prior_hits * (1 - extract(epoch FROM now() - r.window_start) / :window)
        WHEN r.window_start = excluded.window_start - make_interval(secs => :window)
            THEN r.hits * (1 - extract(epoch FROM now() - excluded.window_start) / :window)
        ELSE 0
    END
    RETURNING hits
    """
)


async def hit(db: Database, rule: str, subject: str, limit: Limit) -> None:
    """Count one hit, in a transaction of its own: a request that is refused later has still been made.

    Raises:
        Problem: `rate_limited` with Retry-After, once `limit` is used up.
    """
    parameters = {"rule": rule, "subject": subject, "window": limit.window_s, "limit": limit.hits}
    if not await db.run(_HIT, parameters):
        raise refusal(rule, pause_s(limit))


def pause_s(limit: Limit) -> int:
    """What a caller is asked to wait: half a window on, even a full previous window has lost half of its weight."""
    return math.ceil(limit.window_s / 2)


def refusal(rule: str, wait_s: int) -> Problem:
    """The `rate_limited` of a rule, counted and logged."""
    metrics.rate_limited.labels(rule).inc()
    emit(TOKEN_RATELIMIT, "warning", rule=rule)
    return Problem(RATE_LIMITED, headers={"Retry-After": str(wait_s)})
