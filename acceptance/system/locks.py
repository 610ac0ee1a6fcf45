"""Locks in the database that a case holds until its racers wait for them: then all go on from the same place.

Holds them with the owner's URL and undoes what it wrote.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import psycopg

from acceptance.system.system import System
from acceptance.system.web_workers import race
from harness.http.client import Answer
from harness.waiting import eventually

Race = Callable[[], list[Answer]]

# How many sessions of the system's own database wait for another: its server has databases of other systems, too.
BLOCKED = """
    select count(*) from pg_stat_activity where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0
"""


@contextmanager
def held_back(system: System, table: str, writers: int) -> Iterator[Callable[[Race], Future[list[Answer]]]]:
    """Starts a race in the block and lets its writers go at the end, when all of them wait for the table at once.

    So each transaction began before any could write: who is first by the clock is not who is first in the table.
    """
    with psycopg.connect(system.target.database_url or "") as owner, ThreadPoolExecutor(1) as pool:
        owner.execute(f"lock table {table} in share mode".encode())
        yield pool.submit
        eventually(lambda: system.db.value(BLOCKED) == writers, within_s=4.0)
        owner.commit()


@contextmanager
def unfinished(system: System, statement: str, *values: object) -> Iterator[Callable[[int], None]]:
    """A transaction that others run into in the block, and that is undone at its end.

    Yields a function that returns when so many sessions wait for one another or for this one.
    """

    def wait_for(sessions: int) -> None:
        eventually(lambda: system.db.value(BLOCKED) == sessions, within_s=4.0)

    with psycopg.connect(system.target.database_url or "") as other:
        other.execute(statement.encode(), values)
        yield wait_for
        other.rollback()


def race_after(system: System, calls: Sequence[Callable[[], Answer]], statement: str, *values: object) -> list[Answer]:
    """A race in which each call has begun, and waits for what the statement holds, before any can go on."""
    with ThreadPoolExecutor(1) as pool:
        with unfinished(system, statement, *values) as wait_for:
            racing = pool.submit(race, system, calls)
            wait_for(len(calls))
        return racing.result()
