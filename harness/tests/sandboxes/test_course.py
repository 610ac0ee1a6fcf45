"""Tests of the course of a run, over rows as the service writes them."""

from harness.sandboxes.calls import ALLOCATE, VIEW, Call
from harness.sandboxes.course import course
from harness.tests.sandboxes.conftest import Database

_ROW = """
    INSERT INTO sandboxes (sandbox_id, external_id, name, status, status_since, made_available_at, first_allocated_at,
        next_attempt_at, deleted_at)
    VALUES (%(id)s, %(id)s, %(id)s, %(status)s, to_timestamp(1005.5), to_timestamp(%(made)s), to_timestamp(%(given)s),
        CASE WHEN %(status)s = 'pending_deletion' THEN now() END, CASE WHEN %(status)s = 'deleted' THEN now() END)
"""
_GIVEN = """
    INSERT INTO allocations (sandbox_id, track_id, duration_s, allocated_at, expires_at, grace_until, deadline,
        ended_at, end_reason)
    VALUES (%(id)s, %(id)s, 1, to_timestamp(1002), to_timestamp(9000), to_timestamp(9000), to_timestamp(9000),
        to_timestamp(%(ended)s), CASE WHEN %(ended)s::float8 IS NOT NULL THEN 'released' END)
"""


def test_states_are_counted_at_the_end_of_each_interval(database: Database) -> None:
    rows: list[tuple[str, str, float | None, float | None]] = [
        ("free", "available", None, None),
        ("live", "allocated", 1002.5, None),
        ("stale", "stale", None, None),
        ("ended", "pending_deletion", 1003.5, 1006.5),
    ]
    for sandbox_id, status, given, ended in rows:
        named = {"id": sandbox_id, "status": status, "made": 900, "given": given, "ended": ended}
        database.session.execute(_ROW, named)
        if given is not None:
            database.session.execute(_GIVEN, named)
    calls = [
        Call(ALLOCATE, "live", 1000.5, 1002.6, 201),
        Call(ALLOCATE, "ended", 1001.5, 1003.6, 201),
        Call(ALLOCATE, "nobody", 1003.0, 1003.1, 409),
        Call(VIEW, "live", 1003.0, 1003.1, 200),
    ]
    drawn = course("suite", database.session, calls, 1000.0, 1008.0)
    pool = {name: [n for _, n in points] for name, points in drawn["pool"].items()}
    assert pool["available"] == [4, 4, 3, 2, 2, 1, 1, 1]
    assert pool["allocated"] == [0, 0, 1, 2, 2, 2, 1, 1]
    assert pool["to be deleted"] == [0, 0, 0, 0, 0, 0, 1, 1]
    answers = {name: [n for _, n in points] for name, points in drawn["answers"].items()}
    assert answers["a new sandbox"] == [0, 0, 1, 1, 0, 0, 0, 0]
    assert answers["none free"] == [0, 0, 0, 1, 0, 0, 0, 0]
    assert answers["asking at the same time"] == [1, 2, 2, 2, 0, 0, 0, 0]
