"""unchanged() must see every change of a row, and only that."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from acceptance.suite.environments import Stacks
from acceptance.system.database import Database
from harness.postgres.server import Postgres

Scratch = tuple[psycopg.Connection[Any], Database]


@pytest.fixture
def scratch(stacks: Stacks) -> Iterator[Scratch]:
    """A database with a few tables, an owner's session, and the read-only view of it."""
    with Postgres.start() if stacks.postgres is None else Postgres.attach(stacks.postgres.admin_url) as postgres:
        url = postgres.clone("acceptance_scratch")
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute("create table things (id int primary key, name text)")
            owner.execute("create table days (day date) partition by range (day)")
            owner.execute("create table days_1 partition of days for values from ('2026-01-01') to ('2026-01-02')")
            owner.execute("create table rate_limits (hits int)")
            owner.execute("insert into things values (1, 'one'), (2, null)")
            database = Database(url)
            yield owner, database
            database.close()


@pytest.mark.parametrize(
    "statement",
    [
        "insert into things values (3, 'three')",
        "update things set name = 'two' where id = 2",
        "delete from things where id = 1",
        "insert into days values ('2026-01-01')",
        "create table more (id int)",
        "update things set name = case id when 1 then null else 'one' end",
    ],
)
def test_a_changed_row_is_detected(scratch: Scratch, statement: str) -> None:
    owner, database = scratch
    with pytest.raises(AssertionError, match="rows changed"), database.unchanged():
        owner.execute(statement.encode())


def test_what_may_move_is_left_out(scratch: Scratch) -> None:
    owner, database = scratch
    with database.unchanged():
        owner.execute("insert into rate_limits values (1)")
        owner.execute("update things set name = name")


def test_rows_that_the_session_does_not_see_are_told(scratch: Scratch) -> None:
    owner, database = scratch
    owner.execute("create role acceptance_scratch_bound in role pg_read_all_data")
    try:
        owner.execute("alter table things enable row level security")
        assert database.digest()["things"].startswith("2 rows"), "nothing binds the owner"
        database.rows("select set_config('role', 'acceptance_scratch_bound', false)")
        with pytest.raises(AssertionError, match="does not see every row"):
            database.digest()
    finally:
        owner.execute("drop role acceptance_scratch_bound")


def test_it_cannot_write(scratch: Scratch) -> None:
    _, database = scratch
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        database.rows("insert into things values (4, 'four') returning id")


def test_a_row_is_one_row(scratch: Scratch) -> None:
    _, database = scratch
    with pytest.raises(AssertionError, match="2 rows instead of one"):
        database.row("select * from things")
    with pytest.raises(AssertionError, match="0 rows instead of one"):
        database.row("select * from things where id = %s", 99)
