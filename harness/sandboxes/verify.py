"""The verifier: checks V1 to V10 over a pool, its ledger, the calls of a run and the provider's own record.

What a run is: the tracks of its calls and, where a label is given, the sandboxes of that label. Rows of others are
looked at for what holds of every pool (V1 to V4, V8, V9, V10), and are no row of the run (V5 to V7). Without a label a
row of a track that made no call is nobody's: only with one V6 sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import psycopg

from harness.provider.server import ProviderControl
from harness.sandboxes import call_checks, deletion_check, free_moments
from harness.sandboxes.call_checks import Allocation
from harness.sandboxes.calls import Call
from harness.sandboxes.deletion_check import Deletable, Request, external_id
from harness.sandboxes.free_moments import Interval
from harness.sandboxes.pool_checks import Connection, pool_checks
from harness.sandboxes.seeding import OF_LABEL, id_prefix
from harness.verdict.thresholds import Check, Status

_OF_CALLS: Final = (call_checks.V5, call_checks.V6, call_checks.V7, free_moments.V8)
_ALLOCATIONS: Final = f"""
    SELECT sandbox_id, track_id, extract(epoch FROM allocated_at)::float8, extract(epoch FROM expires_at)::float8,
        extract(epoch FROM grace_until)::float8, extract(epoch FROM ended_at)::float8, end_reason, {OF_LABEL}
    FROM allocations
"""  # noqa: S608 - composed of constants
# A sandbox is to be had from a second after the time in its row, by when that has been committed, until it was given
# out or became stale. Both are exact, and before their commit. What was removed since was free unseen.
_FREE: Final = """
    SELECT * FROM (
        SELECT extract(epoch FROM made_available_at)::float8 + 1 AS since, coalesce(
            extract(epoch FROM first_allocated_at)::float8,
            CASE status WHEN 'available' THEN 'infinity' ELSE extract(epoch FROM status_since)::float8 END
        ) AS until
        FROM sandboxes WHERE made_available_at IS NOT NULL
    ) AS free
    WHERE since < until AND since <= %(last)s AND until >= %(first)s
"""
_DELETABLE: Final = """
    SELECT s.external_id, s.sandbox_id, s.status, a.track_id, extract(epoch FROM a.ended_at)::float8,
        s.first_allocated_at IS NOT NULL
    FROM sandboxes AS s LEFT JOIN allocations AS a ON a.sandbox_id = s.sandbox_id WHERE s.external_id = ANY (%s)
"""
# One that an admin has given up is a tombstone too, with the error of its last attempt.
_DELETED: Final = "SELECT sandbox_id, external_id FROM sandboxes WHERE status = 'deleted' AND last_error IS NULL"
_LABS: Final = """
    SELECT coalesce(track_name, ''), count(*), count(*) FILTER (WHERE ended_at IS NULL),
        count(*) FILTER (WHERE end_reason = 'released'), count(*) FILTER (WHERE end_reason = 'expired'),
        count(*) FILTER (WHERE end_reason = 'revoked')
    FROM allocations {} GROUP BY 1 ORDER BY 2 DESC, 1
"""
_BATCH: Final = 20_000


class Lab(NamedTuple):
    """How the allocations of a lab ended; name is empty for those of students who named none."""

    name: str
    allocations: int
    live: int
    released: int
    expired: int
    revoked: int


@dataclass(frozen=True)
class Verification:
    """What was found, in the order of the checks. labs: those with the most allocations first."""

    checks: Sequence[Check]
    labs: Sequence[Lab]
    pool: dict[str, int] = field(default_factory=dict)


@contextmanager
def snapshot(database_url: str) -> Iterator[Connection]:
    """A session in one read-only transaction: all its statements see the same moment. psycopg.Error."""
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        yield connection


def verify(
    database_url: str,
    calls: Sequence[Call] | None = None,
    *,
    label: str | None = None,
    seeded: int | None = None,
    provider: ProviderControl | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> Verification:
    """Judge a run that has ended. It needs SELECT on `sandboxes` and `allocations`, and writes nothing.

    calls: the record of the run; without it V5 to V8 are disabled, over an empty one they are inconclusive. label: of
    the run's sandboxes, `seeded` of them. provider: the control of the fake provider; without it V9 is disabled. It
    must have been there as long as the pool. say: told what is looked at.
    Raises psycopg.Error, ProviderError.
    """
    with snapshot(database_url) as connection:
        return verify_snapshot(connection, calls, label=label, seeded=seeded, provider=provider, say=say)


def verify_snapshot(
    connection: Connection,
    calls: Sequence[Call] | None,
    *,
    label: str | None,
    seeded: int | None,
    provider: ProviderControl | None,
    say: Callable[[str], object] = lambda _: None,
) -> Verification:
    """As `verify`, over what a transaction sees that has read nothing yet."""
    asked = None if provider is None else provider.calls("delete")  # all that this names has ended in the snapshot
    say("pool and ledger")
    checks = pool_checks(connection, label, seeded)
    if calls:
        say(f"{len(calls):,} calls")
        checks += call_checks.call_checks(calls, _allocations(connection, {call.track_id for call in calls}, label))
        say("moments with nothing free")
        checks.append(free_moments.free_check(calls, _free(connection, calls)))
    else:
        missing = Status.DISABLED if calls is None else Status.INCONCLUSIVE
        why = "no record of the calls was given" if calls is None else "the record of the calls is empty"
        checks += [Check(*one, missing, why) for one in _OF_CALLS]
    if provider is not None and asked is not None:
        say("deletions")
        known = _deletable(connection, asked)
        deleted = connection.execute(_DELETED).fetchall()
        checks.append(deletion_check.deletion_check(asked, provider.calls("delete"), known, deleted))
    else:
        checks.append(Check(*deletion_check.V9, Status.DISABLED, "the provider's record was not given"))
    pool = dict(connection.execute("SELECT status, count(*) FROM sandboxes GROUP BY 1 ORDER BY 1").fetchall())
    return Verification(sorted(checks, key=lambda check: int(check.id[1:])), _labs(connection, label), pool)


def _allocations(connection: Connection, tracks: set[str], label: str | None) -> Iterator[Allocation]:
    """The rows of the run."""
    prefix = "" if label is None else id_prefix(label)
    for *row, labelled in _stream(connection, _ALLOCATIONS, {"prefix": prefix}):
        if row[1] in tracks or (labelled and label is not None):
            yield Allocation(*row)


def _free(connection: Connection, calls: Sequence[Call]) -> Iterator[Interval]:
    """When sandboxes were free, as far as a 409 asks for it."""
    refused = free_moments.refusals(calls)
    if refused:
        first, last = min(call.asked_at for call in refused), max(call.ended_at for call in refused)
        yield from _stream(connection, _FREE, {"first": first, "last": last})


def _stream(connection: Connection, query: str, named: dict[str, Any]) -> Iterator[Any]:
    with connection.cursor("verify") as cursor:
        cursor.itersize = _BATCH
        yield from cursor.execute(query, named)


def _deletable(connection: Connection, asked: Sequence[Request]) -> dict[str, Deletable]:
    ids = sorted({external_id(request) for request in asked})
    return {its_id: Deletable(*row) for its_id, *row in connection.execute(_DELETABLE, [ids])}


def _labs(connection: Connection, label: str | None) -> list[Lab]:
    """Of the label's sandboxes, else of all."""
    query = _LABS.format("" if label is None else f"WHERE {OF_LABEL}")
    named = {} if label is None else {"prefix": id_prefix(label)}
    return [Lab(*row) for row in connection.execute(query, named)]
