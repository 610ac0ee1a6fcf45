"""The row of a zone: quota to the byte, numbers without a gap, and a look at the files that is as late as the lock."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from nexmdm.kernel.statements import Statements
from nexmdm.platform import paths
from nexmdm.platform.zone_row import (
    BlockedPathError,
    Change,
    QuotaExceededError,
    ZoneEndsError,
    check_change,
    commit_change,
    within,
)

FILE = "INSERT INTO files (zone_id, path, kind, size, etag) VALUES ('alpha', $1, 'file', 0, 'e')"
pytestmark = pytest.mark.usefixtures("zone")


def write(path: str, **cost: Any) -> Change:
    return Change(type="write", path=path, no_file_at=paths.ancestors(path), nothing_below=paths.below(path), **cost)


async def commit(statements: Statements, change: Change) -> int:
    async with within(statements, "alpha") as tx:
        return await commit_change(tx, "alpha", change)


async def locked_out(connection: asyncpg.Connection[Any]) -> None:
    """Until somebody waits for a lock of this connection."""
    waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid)))"
    for _ in range(500):
        if await connection.fetchval(waiting):
            return
        await asyncio.sleep(0.01)
    pytest.fail("nobody waits")


@pytest.mark.parametrize("limit,column", [("max_storage_bytes", "used_bytes"), ("max_files", "files")])
async def test_a_limit_is_reached_and_not_passed(
    limit: str, column: str, statements: Statements, connection: asyncpg.Connection[Any]
) -> None:
    await connection.execute(f"UPDATE zones SET {limit} = 10 WHERE zone_id = 'alpha'")
    assert await commit(statements, write("/a", **{column: 10})) == 1
    with pytest.raises(QuotaExceededError, match=limit):
        await commit(statements, write("/b", **{column: 1}))
    await connection.execute(f"UPDATE zones SET {limit} = 3 WHERE zone_id = 'alpha'")
    for number, cost in enumerate((0, -2, -1), 2):
        assert await commit(statements, write("/a", **{column: cost})) == number, "what does not grow is never refused"
    with pytest.raises(QuotaExceededError):
        async with within(statements, "alpha") as tx:
            await check_change(tx, "alpha", write("/b", **{column: 1}))


async def test_what_is_reserved_counts(statements: Statements, connection: asyncpg.Connection[Any]) -> None:
    await connection.execute("UPDATE zones SET max_storage_bytes = 10 WHERE zone_id = 'alpha'")
    await commit(statements, write("/a", reserved_bytes=6))
    with pytest.raises(QuotaExceededError):
        await commit(statements, write("/b", used_bytes=5))
    await commit(statements, write("/a", used_bytes=6, reserved_bytes=-6))


async def test_a_zone_that_ends_or_is_gone_takes_nothing(
    statements: Statements, connection: asyncpg.Connection[Any]
) -> None:
    await connection.execute("UPDATE zones SET phase = 'Terminating', terminating_at = now() WHERE zone_id = 'alpha'")
    with pytest.raises(ZoneEndsError):
        await commit(statements, write("/a"))
    await connection.execute("DELETE FROM zones WHERE zone_id = 'alpha'")
    with pytest.raises(ZoneEndsError):
        await commit(statements, write("/a"))


@pytest.mark.parametrize("first,second,reason", [("/a", "/a/b", "not_a_directory"), ("/a/b", "/a", "is_a_directory")])
async def test_who_waited_for_the_row_sees_what_was_committed_before(
    first: str, second: str, reason: str, statements: Statements, connection: asyncpg.Connection[Any]
) -> None:
    async with connection.transaction():
        await connection.execute(FILE, first)
        await commit_change(connection, "alpha", write(first))
        waiting = asyncio.create_task(commit(statements, write(second)))
        await locked_out(connection)
    with pytest.raises(BlockedPathError, match=reason):
        await waiting
    assert await connection.fetchval("SELECT event_seq FROM zones WHERE zone_id = 'alpha'") == 1


async def test_numbers_have_no_gap_whoever_fails(statements: Statements, connection: asyncpg.Connection[Any]) -> None:
    async def one(number: int) -> None:
        async with within(statements, "alpha") as tx:
            await commit_change(tx, "alpha", write(f"/{number}"))
            if number % 3 == 0:
                raise LookupError

    await asyncio.gather(*(one(number) for number in range(30)), return_exceptions=True)
    rows = await connection.fetch("SELECT sequence_number, occurred_at FROM events ORDER BY sequence_number")
    assert [row["sequence_number"] for row in rows] == list(range(1, 21))
    times = [row["occurred_at"] for row in rows]
    assert times == sorted(times)


async def test_the_time_of_an_event_never_goes_back(
    statements: Statements, connection: asyncpg.Connection[Any]
) -> None:
    await connection.execute("UPDATE zones SET event_at = now() + interval '1 hour' WHERE zone_id = 'alpha'")
    await commit(statements, write("/a"))
    assert await connection.fetchval("SELECT occurred_at > now() + interval '59 minutes' FROM events")


async def test_a_rename_has_two_paths_and_nothing_else_has(connection: asyncpg.Connection[Any], zone: UUID) -> None:
    del zone
    insert = (
        "INSERT INTO events (zone_id, sequence_number, type, path, new_path, occurred_at)"
        " VALUES ('alpha', 1, $1, '/a', $2, now())"
    )
    for kind, new in (("rename", None), ("write", "/b")):
        with pytest.raises(asyncpg.CheckViolationError, match="rename_has_new_path"):
            await connection.execute(insert, kind, new)
