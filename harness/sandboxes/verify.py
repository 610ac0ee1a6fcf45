"""The verifier: checks V1 to V10 over a pool, its ledger, the calls of a run and the provider's own record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg

from harness.provider.server import ProviderControl
from harness.sandboxes.calls import Call
from harness.sandboxes.pool_checks import Connection, pool_checks
from harness.verdict.thresholds import Check, Status

_OF_CALLS: Final = (
    ("V5", "each 201 is one row, each 200 is the row of its 201, each release has ended its row"),
    ("V6", "no row and no release that nobody asked for"),
    ("V7", "as many rows as 201s"),
    ("V8", "at some moment of each 409 nothing was free"),
)
_OF_PROVIDER: Final = (("V9", "the provider was asked to delete what had ended, and all that is deleted"),)


@dataclass(frozen=True)
class Verification:
    """What was found."""

    checks: Sequence[Check]


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
    """Judge. It needs SELECT on `sandboxes` and `allocations`, and writes nothing. psycopg.Error.

    calls: the record of the run; without it V5 to V8 are disabled. label: of the run's sandboxes, `seeded` of them.
    provider: the control of the fake provider; without it V9 is disabled. say: told what is looked at.
    """
    with snapshot(database_url) as connection:
        say("pool and ledger")
        checks = pool_checks(connection, label, seeded)
    no_calls = "no record of the calls was given" if calls is None else "not judged yet"
    no_provider = "no provider was given" if provider is None else "not judged yet"
    checks += [Check(*one, Status.DISABLED, no_calls) for one in _OF_CALLS]
    checks += [Check(*one, Status.DISABLED, no_provider) for one in _OF_PROVIDER]
    return Verification(sorted(checks, key=lambda check: int(check.id[1:])))
