"""Sandboxes put into the pool at once under a run's label, and taken out of it again: 400,000 in seconds."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any, Final

import psycopg

from harness.settings import HarnessError

_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_EXTERNAL_ID: Final = "identity/accounts/"  # as the provider's ids begin
# A batch is a transaction of its own. When seeding, it commits within a second of the time in its rows, from which on
# the verifier holds them for free; when removing, no row is locked for long.
_BATCH: Final = 20_000
OF_LABEL: Final = "starts_with(sandbox_id, %(prefix)s) AND substr(sandbox_id, length(%(prefix)s) + 1) ~ '^[0-9]+$'"
_IDS: Final = f"SELECT sandbox_id FROM sandboxes WHERE {OF_LABEL}"  # noqa: S608 - composed of the constants above
_COPY: Final = "COPY sandboxes (sandbox_id, external_id, name, status, made_available_at) FROM STDIN"
# In this order: what is free cannot be allocated any more once it is gone, and what is left then cannot either.
_REMOVE: Final = (
    "DELETE FROM sandboxes WHERE sandbox_id = ANY (%(ids)s) AND status = 'available'",
    "DELETE FROM allocations WHERE sandbox_id = ANY (%(ids)s)",
    "DELETE FROM sandboxes WHERE sandbox_id = ANY (%(ids)s)",
)

Progress = Callable[[int, int], object]


class SeedingError(HarnessError):
    """The pool did not take, or give up, the label's sandboxes."""


def check_label(label: str) -> str:
    """The label. SeedingError: no id can be made of it."""
    if not _LABEL.fullmatch(label):
        raise SeedingError(f"label {label!r}: 1 to 40 of a-z, 0-9 and -, of which - is not the first")
    return label


def id_prefix(label: str) -> str:
    """What the ids of a label begin with; a number follows. SeedingError."""
    return f"load-{check_label(label)}-"


def seed(database_url: str, label: str, count: int, *, progress: Progress | None = None) -> None:
    """Add `count` sandboxes that may be given out, with ids `load-<label>-<n>` from 0 on.

    Then vacuum and analyze, so that the database has no need to do it during the run. progress: (done, of how many).
    Raises:
        SeedingError: the label has sandboxes already, or is malformed; psycopg.Error.
    """
    prefix = id_prefix(label)
    run = str(uuid.uuid4())[:-12]
    with psycopg.connect(database_url, connect_timeout=10, autocommit=True) as connection:
        if connection.execute(f"{_IDS} LIMIT 1", {"prefix": prefix}).fetchone():
            raise SeedingError(f"label {label}: has sandboxes already; remove them first, or take another label")
        for first in range(0, count, _BATCH):
            numbers = range(first, min(first + _BATCH, count))
            try:
                _copy(connection, prefix, run, numbers)
            except psycopg.errors.UniqueViolation:
                raise SeedingError(f"label {label}: another run is seeding it") from None
            if progress:
                progress(numbers.stop, count)
        connection.execute("VACUUM (ANALYZE) sandboxes")


def _copy(connection: psycopg.Connection[Any], prefix: str, run: str, numbers: range) -> None:
    with connection.transaction(), connection.cursor() as cursor:
        [(now,)] = cursor.execute("SELECT clock_timestamp()::text").fetchall()
        with cursor.copy(_COPY) as copy:
            for n in numbers:
                copy.write_row((f"{prefix}{n}", f"{_EXTERNAL_ID}{run}{n:012x}", f"{prefix}{n}", "available", now))


def remove(database_url: str, label: str, *, progress: Progress | None = None) -> int:
    """Remove the label's sandboxes with their rows of the ledger; gives how many. No other row is touched.

    progress: (done, of how many). SeedingError: the label is malformed; psycopg.Error.
    """
    named = {"prefix": id_prefix(label)}
    with psycopg.connect(database_url, connect_timeout=10, autocommit=True) as connection:
        ids = [one for (one,) in connection.execute(f"{_IDS} ORDER BY sandbox_id", named)]
        for first in range(0, len(ids), _BATCH):
            batch = ids[first : first + _BATCH]
            with connection.transaction():
                for statement in _REMOVE:
                    connection.execute(statement, {"ids": batch})
            if progress:
                progress(first + len(batch), len(ids))
    return len(ids)
