"""What a pool and its ledger must hold of each other: checks V1 to V4 and V10, by SQL in one snapshot.

The constraints of the service's tables forbid most of it: a service that has lost one is what these checks find.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg

from harness.sandboxes.faults import TOLD, Faults
from harness.sandboxes.seeding import OF_LABEL, id_prefix
from harness.verdict.thresholds import Check, Status

Connection = psycopg.Connection[Any]

# Each gives a line per fault. What the service has forgotten is none: an ended allocation goes after some days, one at
# the least, so that a sandbox that was given out within a day has its row.
_LIVE_PER_SANDBOX: Final = """
    SELECT format('sandbox %s is live for %s', sandbox_id, string_agg(track_id, ', ' ORDER BY track_id)) AS fault
    FROM allocations WHERE ended_at IS NULL GROUP BY sandbox_id HAVING count(*) > 1
"""
_LIVE_PER_TRACK: Final = """
    SELECT format('track %s has %s', track_id, string_agg(sandbox_id, ', ' ORDER BY sandbox_id)) AS fault
    FROM allocations WHERE ended_at IS NULL GROUP BY track_id HAVING count(*) > 1
"""
_GIVEN_TWICE: Final = """
    SELECT format('sandbox %s was given to %s', sandbox_id, string_agg(track_id, ', ' ORDER BY allocation_id)) AS fault
    FROM allocations GROUP BY sandbox_id HAVING count(*) > 1
"""
_STATES: Final = """
    WITH ledger AS (
        SELECT sandbox_id, count(*) FILTER (WHERE ended_at IS NULL) AS live FROM allocations GROUP BY sandbox_id
    )
    SELECT format('sandbox %s: ', coalesce(s.sandbox_id, l.sandbox_id)) || CASE
        WHEN s.sandbox_id IS NULL THEN 'it is in the ledger, and there is no such row'
        WHEN s.status = 'allocated' AND coalesce(l.live, 0) = 0 THEN 'it is allocated, and live for nobody'
        WHEN l.live > 0 AND s.status <> 'allocated' THEN format('it is live, and its row is %s', s.status)
        WHEN s.status IN ('available', 'stale') AND coalesce(l.sandbox_id, s.first_allocated_at::text) IS NOT NULL
            THEN format('it is %s, and was given out', s.status)
        WHEN s.status NOT IN ('available', 'stale') AND s.first_allocated_at IS NULL
            THEN format('it is %s, and was never given out', s.status)
        WHEN l.sandbox_id IS NULL AND s.first_allocated_at > now() - interval '1 day'
            THEN format('it is %s, and its allocation is gone', s.status)
        END AS fault
    FROM sandboxes AS s FULL JOIN ledger AS l ON l.sandbox_id = s.sandbox_id
    UNION ALL
    SELECT format('sandbox %s: it ended as expired before its grace was over', sandbox_id)
    FROM allocations WHERE end_reason = 'expired' AND ended_at < grace_until
"""
_FAULTS: Final = "SELECT fault, count(*) OVER () FROM ({}) AS found WHERE fault IS NOT NULL ORDER BY fault LIMIT {}"

_BY_ROW: Final = (
    ("V1", "a sandbox is live for one track at most", _LIVE_PER_SANDBOX),
    ("V2", "a track has one live sandbox at most", _LIVE_PER_TRACK),
    ("V3", "no sandbox was given out twice", _GIVEN_TWICE),
    ("V4", "the states of the sandboxes are what the ledger says", _STATES),
)
_SUMS_TITLE: Final = "the sums agree: allocated and live, given out and recorded, seeded and there"
_SUMS: Final = f"""
    SELECT
        count(*) FILTER (WHERE status = 'allocated') AS allocated,
        (SELECT count(*) FROM allocations WHERE ended_at IS NULL) AS live,
        count(*) FILTER (WHERE first_allocated_at > now() - interval '1 day') AS given,
        (SELECT count(*) FROM allocations JOIN sandboxes AS s USING (sandbox_id)
            WHERE s.first_allocated_at > now() - interval '1 day') AS recorded,
        count(*) FILTER (WHERE {OF_LABEL}) AS labelled
    FROM sandboxes
"""  # noqa: S608 - composed of the constants above


def sizes(connection: Connection) -> tuple[int, int]:
    """How many sandboxes and how many allocations there are."""
    query = "SELECT (SELECT count(*) FROM sandboxes), (SELECT count(*) FROM allocations)"
    [(sandboxes, allocations)] = connection.execute(query).fetchall()
    return sandboxes, allocations


def pool_checks(connection: Connection, label: str | None, seeded: int | None) -> list[Check]:
    """V1 to V4 and V10 over the whole pool. Where there is nothing to look at they are inconclusive.

    label, seeded: the run's label, and how many sandboxes were seeded under it. Without them V10 does not count these.
    """
    sandboxes, allocations = sizes(connection)
    looked_at = f"{sandboxes:,} sandboxes, {allocations:,} allocations"
    checks = [
        _judged(connection, check_id, title, query, looked_at, empty=not (sandboxes and allocations))
        for check_id, title, query in _BY_ROW
    ]
    return [*checks, _sums(connection, label, seeded, looked_at, empty=not sandboxes)]


def _judged(connection: Connection, check_id: str, title: str, query: str, looked_at: str, *, empty: bool) -> Check:
    rows = connection.execute(_FAULTS.format(query, TOLD)).fetchall()
    if empty and not rows:
        return Check(check_id, title, Status.INCONCLUSIVE, f"nothing to look at: {looked_at}")
    return Faults([row[0] for row in rows], rows[0][1] if rows else 0).check(check_id, title, looked_at)


def _sums(connection: Connection, label: str | None, seeded: int | None, looked_at: str, *, empty: bool) -> Check:
    prefix = "" if label is None else id_prefix(label)
    [(allocated, live, given, recorded, labelled)] = connection.execute(_SUMS, {"prefix": prefix}).fetchall()
    faults = Faults()
    if allocated != live:
        faults.add(f"{allocated:,} sandboxes are allocated, {live:,} allocations are live")
    if given != recorded:
        faults.add(f"{given:,} sandboxes were given out within a day, {recorded:,} are in the ledger")
    if label is not None and seeded is not None and labelled != seeded:
        faults.add(f"{seeded:,} sandboxes were seeded as {label}, {labelled:,} are there")
    unlabelled = label is not None and not labelled
    if (empty or unlabelled) and not faults.count:
        why = f"there is no sandbox of label {label}" if unlabelled else f"nothing to look at: {looked_at}"
        return Check("V10", _SUMS_TITLE, Status.INCONCLUSIVE, why)
    return faults.check("V10", _SUMS_TITLE, looked_at)
