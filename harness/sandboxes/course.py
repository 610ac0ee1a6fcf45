"""The course of a run over time: what the pool held, and how requests for a sandbox were answered."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import psycopg

from harness.sandboxes.calls import ALLOCATE, Call
from harness.verdict.artifacts import timestamp

STATES: Final = ("available", "allocated", "to be deleted")
# When sandboxes came into a state (1) and left it (-1), counted by interval; what was before the run is in interval 0.
_CHANGES: Final = """
    WITH times AS (
        SELECT s.made_available_at, s.first_allocated_at, a.ended_at, s.deleted_at,
            CASE WHEN s.status = 'stale' THEN s.status_since END AS stale_at
        FROM sandboxes AS s LEFT JOIN allocations AS a USING (sandbox_id)
    ), changes (state, at, by) AS (
        SELECT 0, made_available_at, 1 FROM times
        UNION ALL SELECT 0, coalesce(first_allocated_at, stale_at), -1 FROM times
        UNION ALL SELECT 1, first_allocated_at, 1 FROM times
        UNION ALL SELECT 1, ended_at, -1 FROM times
        UNION ALL SELECT 2, ended_at, 1 FROM times
        UNION ALL SELECT 2, deleted_at, -1 FROM times WHERE ended_at IS NOT NULL
    )
    SELECT state, greatest(0, floor((extract(epoch FROM at) - %(origin)s) / %(interval_s)s))::int AS number,
        sum(by)::int
    FROM changes WHERE at IS NOT NULL GROUP BY state, number
"""
_OUTCOMES: Final = {201: "a new sandbox", 200: "the same again", 409: "none free", 503: "try again"}
_OTHER: Final = "another answer, or none"
_WAITS: Final = "asking at the same time"

Points = list[list[float]]


def course(
    suite: str, connection: psycopg.Connection[Any], calls: Iterable[Call], origin: float, end: float
) -> dict[str, Any]:
    """The document. origin, end: of the run, epoch seconds. psycopg.Error."""
    interval_s = 1.0 if end - origin <= 600 else 10.0
    length = math.ceil((end - origin) / interval_s)
    return {
        "suite": suite,
        "started_at": timestamp(origin),
        "interval_s": interval_s,
        "pool": _pool(connection, origin, interval_s, length),
        "answers": _answers([call for call in calls if call.kind == ALLOCATE], origin, interval_s, length),
    }


def _pool(connection: psycopg.Connection[Any], origin: float, interval_s: float, length: int) -> dict[str, Points]:
    """How many sandboxes are in each state at the end of each interval."""
    named = {"origin": origin, "interval_s": interval_s}
    changes = {(state, number): by for state, number, by in connection.execute(_CHANGES, named)}
    courses: dict[str, Points] = {}
    for state, name in enumerate(STATES):
        held = 0
        points = courses[name] = []
        for number in range(length):
            held += changes.get((state, number), 0)
            points.append([(number + 1) * interval_s, held])
    return courses


def _answers(calls: list[Call], origin: float, interval_s: float, length: int) -> dict[str, Points]:
    """How many requests for a sandbox a second had each outcome, and the most that were asking at the same time."""
    counts: dict[str, Counter[int]] = {}
    for call in calls:
        number = int((call.ended_at - origin) / interval_s)
        counts.setdefault(_OUTCOMES.get(call.status, _OTHER), Counter())[number] += 1
    asking, now, known = [0] * length, 0, 0
    for at, by in sorted([(call.asked_at, 1) for call in calls] + [(call.ended_at, -1) for call in calls]):
        number = int((at - origin) / interval_s)
        asking[known + 1 : number + 1] = [now] * (min(number, length - 1) - known)  # as many as before
        now, known = now + by, min(number, length - 1)
        asking[known] = max(asking[known], now)
    told = {name: [[n * interval_s, counts[name][n] / interval_s] for n in range(length)] for name in counts}
    return told | {_WAITS: [[n * interval_s, most] for n, most in enumerate(asking)]}
