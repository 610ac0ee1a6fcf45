"""The pool follows the provider's list: what may change, what never may, and which lists are not believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import asyncpg
import pytest
from support.database import settings_for
from support.provider import TOKEN, FakeProvider, entry, uuid
from support.sandboxes import store_sandbox

from nexmdm.kernel.database import Database
from nexmdm.sandboxes.job import BATCH, Report
from nexmdm.sandboxes.provider import Provider
from nexmdm.sandboxes.sync import sync
from nexmdm.sandboxes.types import STATUSES

Logged = Callable[[], list[dict[str, Any]]]


class Syncs:
    """Runs a sync against the provider of the test."""

    def __init__(self, db: Database, provider: FakeProvider) -> None:
        self.db = db
        self.settings = settings_for("postgresql://unused", provider_url=provider.url, provider_token=TOKEN)
        self.client = Provider(self.settings)

    async def __call__(self, *, force: bool = False) -> Report:
        return await sync(self.db, self.client, self.settings, force=force)


@pytest.fixture
async def syncs(db: Database, provider: FakeProvider) -> AsyncIterator[Syncs]:
    made = Syncs(db, provider)
    async with aclosing(made.client):
        yield made


async def rows(connection: asyncpg.Connection[Any]) -> dict[str, str]:
    return dict(await connection.fetch("SELECT sandbox_id, status FROM sandboxes"))


async def stored(connection: asyncpg.Connection[Any], number: int, status: str = "available") -> None:
    """A row as a sync before would have made it."""
    await store_sandbox(connection, str(number), status)
    await connection.execute(
        "UPDATE sandboxes SET external_id = $2, name = $3 WHERE sandbox_id = $1",
        str(number),
        f"identity/accounts/{uuid(number)}",
        f"lab {number}",
    )


async def test_what_is_new_can_be_given_out(
    syncs: Syncs, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    provider.entries = [entry(1), entry(2, state="inactive"), entry(3, account_type="customer")]
    report = await syncs()
    row = await connection.fetchrow("SELECT * FROM sandboxes")
    assert row is not None
    assert (row["sandbox_id"], row["external_id"], row["name"], row["status"]) == (
        "1",
        f"identity/accounts/{uuid(1)}",
        "lab 1",
        "available",
    )
    assert (report.outcome, report.counts["synced"], report.counts["added"]) == ("completed", 1, 1)
    run = await connection.fetchrow("SELECT * FROM sync_runs")
    assert run is not None
    assert (run["outcome"], run["synced"], run["marked_stale"]) == ("completed", 1, 0)
    assert run["started_at"] < row["made_available_at"] < run["finished_at"]


@pytest.mark.parametrize("listed", [True, False])
async def test_nothing_that_was_ever_given_out_changes(
    listed: bool, syncs: Syncs, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    given = [status for status in STATUSES if status not in ("available", "stale")]
    for number, status in enumerate(given, 1):
        await store_sandbox(connection, str(number), status)
    provider.entries = [entry(number) for number in range(1, 7)] if listed else []
    before = await connection.fetch("SELECT * FROM sandboxes ORDER BY sandbox_id")
    report = await syncs()
    seen = await connection.fetch("SELECT * FROM sandboxes WHERE sandbox_id <= '5' ORDER BY sandbox_id")
    assert (report.outcome, seen) == ("completed", before)
    assert report.counts["still_listed"] == int(listed)


async def test_a_stale_one_that_is_listed_again_is_available_from_now_on(
    syncs: Syncs, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await stored(connection, 1, "stale")
    before = await connection.fetchval("SELECT clock_timestamp()")
    provider.entries = [entry(1)]
    report = await syncs()
    row = await connection.fetchrow("SELECT * FROM sandboxes")
    assert row is not None
    assert (row["status"], report.counts["revived"]) == ("available", 1)
    assert before < row["made_available_at"]
    assert before < row["status_since"]


async def test_a_new_name_is_taken_over_and_nothing_else(
    syncs: Syncs, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await stored(connection, 1)
    before = await connection.fetchrow("SELECT * FROM sandboxes")
    assert before is not None
    provider.entries = [entry(1, name="renamed")]
    report = await syncs()
    row = await connection.fetchrow("SELECT * FROM sandboxes")
    assert row is not None
    assert dict(row) == {**before, "name": "renamed"}
    assert report.counts["changed"] == 1


async def test_what_is_missing_is_stale(
    syncs: Syncs, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await stored(connection, 1)
    await stored(connection, 2)
    provider.entries = [entry(1)]
    report = await syncs()
    assert await rows(connection) == {"1": "available", "2": "stale"}
    assert report.counts["stale"] == 1


async def test_a_list_that_is_older_than_a_row_says_nothing_of_it(
    syncs: Syncs, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await stored(connection, 1)
    provider.entries, provider.hold = [entry(1)], asyncio.Event()
    running = asyncio.create_task(syncs())
    await provider.called(1)
    await stored(connection, 2)
    await connection.execute("UPDATE sandboxes SET made_available_at = clock_timestamp() WHERE sandbox_id = '2'")
    provider.hold.set()
    await running
    assert await rows(connection) == {"1": "available", "2": "available"}


async def test_a_list_with_an_entry_that_cannot_be_used_makes_nothing_stale(
    syncs: Syncs, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await stored(connection, 1)
    provider.entries = [entry(2), entry(3, name=...)]
    report = await syncs()
    assert await rows(connection) == {"1": "available", "2": "available"}
    assert (report.outcome, report.counts["skipped"], report.counts["stale"]) == ("completed", 1, 0)
    assert await connection.fetchval("SELECT skipped FROM sync_runs") == 1


@pytest.mark.parametrize("status", STATUSES)
async def test_an_external_id_of_another_row_is_a_collision(
    status: str, syncs: Syncs, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await stored(connection, 1, status)
    await stored(connection, 2)
    provider.entries = [entry(7, id=f"identity/accounts/{uuid(1)}"), entry(3)]
    report = await syncs()
    assert (report.outcome, report.counts["skipped"], report.counts["synced"]) == ("completed", 1, 1)
    assert await rows(connection) == {"1": status, "2": "available", "3": "available"}


async def test_an_empty_list_is_not_believed_while_anything_is_available(
    syncs: Syncs, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await stored(connection, 1)
    report = await syncs()
    assert report.outcome == "implausible"
    assert await rows(connection) == {"1": "available"}
    assert await connection.fetchval("SELECT outcome FROM sync_runs") == "implausible"
    await connection.execute("DELETE FROM sandboxes")
    assert (await syncs()).outcome == "completed"


@pytest.mark.parametrize(
    "available,stale,missing,revived,outcome",
    [
        (10, 0, 5, 0, "completed"),
        (10, 0, 6, 0, "implausible"),
        (40, 0, 8, 0, "completed"),
        (40, 0, 9, 0, "implausible"),
        (10, 3, 2, 0, "completed"),
        (10, 3, 3, 0, "implausible"),  # bit by bit
        (10, 3, 5, 3, "completed"),
        (10, 9, 0, 0, "completed"),  # it says nothing new
    ],
)
async def test_a_list_that_lacks_too_much_is_not_believed(
    available: int,
    stale: int,
    missing: int,
    revived: int,
    outcome: str,
    syncs: Syncs,
    provider: FakeProvider,
    connection: asyncpg.Connection[Any],
) -> None:
    for number in range(1, available + 1):
        await stored(connection, number)
    for number in range(101, 101 + stale):
        await stored(connection, number, "stale")
    provider.entries = [entry(number) for number in range(missing + 1, available + 1)]
    provider.entries += [entry(number) for number in range(101, 101 + revived)]
    before = await rows(connection)
    report = await syncs()
    assert report.outcome == outcome
    if outcome == "implausible":
        assert await rows(connection) == before
        report = await syncs(force=True)
        assert (report.outcome, report.counts["stale"]) == ("completed", missing)


async def test_the_older_of_two_lists_changes_nothing(
    syncs: Syncs, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    hold = provider.hold = asyncio.Event()
    provider.entries = [entry(1), entry(2)]
    older = asyncio.create_task(syncs())
    await provider.called(1)
    provider.hold, provider.entries = None, [entry(2), entry(3)]
    assert (await syncs()).outcome == "completed"
    provider.entries = [entry(1), entry(2)]
    hold.set()
    report = await older
    assert (report.outcome, report.counts["added"]) == ("superseded", 0)
    assert await rows(connection) == {"2": "available", "3": "available"}


async def test_rows_that_are_as_listed_are_not_touched(
    syncs: Syncs, provider: FakeProvider, connection: asyncpg.Connection[Any], db: Database
) -> None:
    await stored(connection, 1)
    await stored(connection, 2)
    provider.entries = [entry(1), entry(2), entry(3)]
    before = await connection.fetchval("SELECT xmin FROM sandboxes WHERE sandbox_id = '1'")
    holder = await db.connect()
    try:
        await holder.execute("BEGIN; SELECT FROM sandboxes FOR UPDATE")
        async with asyncio.timeout(2):
            await syncs()
    finally:
        await holder.close()
    assert await connection.fetchval("SELECT xmin FROM sandboxes WHERE sandbox_id = '1'") == before
    assert await connection.fetchval("SELECT xmax FROM sandboxes WHERE sandbox_id = '1'") != 0  # the holder's
    assert await rows(connection) == {"1": "available", "2": "available", "3": "available"}


async def test_a_row_that_somebody_holds_is_left_to_him(
    syncs: Syncs, provider: FakeProvider, connection: asyncpg.Connection[Any], db: Database
) -> None:
    for number in (1, 2, 3):
        await stored(connection, number)
    await stored(connection, 4, "stale")
    provider.entries = [entry(3, name="renamed"), entry(4)]
    holder = await db.connect()
    try:
        await holder.execute("BEGIN; SELECT FROM sandboxes WHERE sandbox_id <> '2' FOR UPDATE")
        async with asyncio.timeout(2):
            report = await syncs()
    finally:
        await holder.close()
    assert await rows(connection) == {"1": "available", "2": "stale", "3": "available", "4": "stale"}
    assert (report.counts["stale"], report.counts["changed"], report.counts["revived"]) == (1, 0, 0)


async def test_changes_are_made_in_short_transactions(
    syncs: Syncs, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    provider.entries = [entry(number) for number in range(1, 2 * BATCH + 2)]
    assert (await syncs()).counts["added"] == 2 * BATCH + 1
    sizes = await connection.fetch("SELECT count(*) AS n FROM sandboxes GROUP BY xmin::text ORDER BY n")
    assert [row["n"] for row in sizes] == [1, BATCH, BATCH]


@pytest.mark.parametrize(
    "fault,outcome", [({"status": 500}, "failed"), ({"status": 403}, "refused"), ({"body": b"<html>"}, "implausible")]
)
async def test_without_a_list_nothing_changes_and_the_run_says_why(
    fault: dict[str, Any],
    outcome: str,
    syncs: Syncs,
    provider: FakeProvider,
    connection: asyncpg.Connection[Any],
    logged: Logged,
) -> None:
    await stored(connection, 1)
    for name, value in fault.items():
        setattr(provider, name, value)
    assert (await syncs()).outcome == outcome
    assert await rows(connection) == {"1": "available"}
    assert await connection.fetchval("SELECT outcome FROM sync_runs") == outcome
    assert "provider" in {line.get("dependency") for line in logged()}
    assert TOKEN not in str(logged())


async def test_failures_open_the_circuit_and_one_probe_closes_it(
    syncs: Syncs, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    provider.status = 503
    assert [(await syncs()).outcome for _ in range(6)] == ["failed"] * 5 + ["circuit_open"]
    assert len(provider.requests) == 5
    assert 58 <= await connection.fetchval("SELECT extract(epoch FROM open_until - now()) FROM breaker") <= 60
    await connection.execute("UPDATE breaker SET open_until = now()")
    provider.status, provider.hold = None, asyncio.Event()
    probe = asyncio.create_task(syncs())
    await provider.called(6)
    assert (await syncs()).outcome == "circuit_open"
    provider.hold.set()
    assert (await probe).outcome == "completed"
    row = await connection.fetchrow("SELECT failures, open_until FROM breaker")
    assert row is not None
    assert tuple(row) == (0, None)
    assert len(provider.requests) == 6
