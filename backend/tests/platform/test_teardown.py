"""The deletion of a zone: step by step, by any worker; nothing is left, and what comes late is not overlooked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from nexmdm.kernel.statements import Statements
from nexmdm.platform import teardown
from nexmdm.platform.contents import Contents, take
from nexmdm.platform.object_store import ObjectStore
from nexmdm.platform.retention import remove_events
from nexmdm.platform.teardown import step
from nexmdm.platform.zone_row import Change, commit_change, within
from nexmdm.platform.zones import FINALIZERS

ObjectsOf = Callable[[UUID], list[str]]

FILES = (
    "INSERT INTO files (zone_id, path, kind, size, etag) SELECT 'alpha', '/' || n, 'file', 0, 'e'"
    " FROM generate_series(1, $1) AS n"
)
LARGE = (
    "INSERT INTO files (zone_id, path, kind, size, etag) VALUES ('alpha', '/f', 'file', 70000, 'e') RETURNING file_id"
)
STEPS = "SELECT name, removed, finished_at IS NOT NULL AS done FROM zone_finalizers ORDER BY position"


async def terminate(connection: asyncpg.Connection[Any]) -> None:
    await connection.execute("UPDATE zones SET phase = 'Terminating', terminating_at = now() WHERE zone_id = 'alpha'")
    for position, name in enumerate(FINALIZERS, 1):
        await connection.execute("INSERT INTO zone_finalizers VALUES ('alpha', $1, $2)", position, name)


async def stored(contents: Contents, statements: Statements, zone: UUID) -> None:
    content = await contents.keep("alpha", zone, b"x" * 70_000)
    async with within(statements, "alpha") as tx:
        await take(tx, "alpha", await tx.fetchval(LARGE), content, replace=False)
        await commit_change(tx, "alpha", Change(type="write", path="/f"))


async def until_it_rests(statements: Statements, store: ObjectStore) -> None:
    for _ in range(50):
        if not await step(statements, store):
            return
    pytest.fail("the deletion does not end")


async def test_all_is_removed_and_the_root_zone_knows(
    objects_of: ObjectsOf,
    contents: Contents,
    statements: Statements,
    store: ObjectStore,
    zone: UUID,
    connection: asyncpg.Connection[Any],
) -> None:
    await stored(contents, statements, zone)
    await connection.execute(FILES, 20)
    await connection.execute(
        "INSERT INTO api_keys (name, role, zone, key_hash) VALUES ('m', 'member', 'alpha', repeat('0', 64))"
    )
    await terminate(connection)
    await until_it_rests(statements, store)
    for table in ("zones", "zone_finalizers", "files", "file_parts", "objects", "events"):
        assert await connection.fetchval(f"SELECT count(*) FROM {table} WHERE zone_id = 'alpha'") == 0, table
    assert objects_of(zone) == []
    assert await connection.fetchval("SELECT revoked_at IS NOT NULL FROM api_keys")
    assert await connection.fetchval("SELECT path FROM events WHERE zone_id = 'root'") == "alpha"


async def test_a_step_counts_what_it_removes_batch_by_batch(
    statements: Statements, store: ObjectStore, zone: UUID, connection: asyncpg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    del zone
    monkeypatch.setattr(teardown, "_BATCH", 8)
    await connection.execute(FILES, 20)
    await terminate(connection)
    seen = []
    assert await step(statements, store), "there are no uploads"
    for _ in range(3):
        assert await step(statements, store)
        seen.append(tuple((await connection.fetch(STEPS))[1]))
    assert seen == [("files", 8, False), ("files", 16, False), ("files", 20, True)]


async def test_two_at_once_do_a_step_once(
    statements: Statements, store: ObjectStore, zone: UUID, connection: asyncpg.Connection[Any]
) -> None:
    del zone
    await connection.execute(FILES, 50)
    await terminate(connection)
    assert await step(statements, store), "there are no uploads"
    await asyncio.gather(*(step(statements, store) for _ in range(4)))
    assert (await connection.fetch(STEPS))[1]["removed"] == 50


async def test_an_object_that_is_pinned_is_waited_for(
    objects_of: ObjectsOf,
    contents: Contents,
    statements: Statements,
    store: ObjectStore,
    zone: UUID,
    connection: asyncpg.Connection[Any],
) -> None:
    content = await contents.keep("alpha", zone, b"x" * 70_000)
    await terminate(connection)
    await until_it_rests(statements, store)
    assert await connection.fetchval("SELECT count(*) FROM zones WHERE zone_id = 'alpha'") == 1
    assert objects_of(zone) == [str(content.parts[0])]
    await connection.execute("UPDATE objects SET pinned_until = now()")
    await until_it_rests(statements, store)
    assert await connection.fetchval("SELECT count(*) FROM zones WHERE zone_id = 'alpha'") == 0


async def test_a_row_that_came_late_sends_it_back_to_its_first_step(
    statements: Statements, store: ObjectStore, zone: UUID, connection: asyncpg.Connection[Any]
) -> None:
    del zone
    await terminate(connection)
    for _ in FINALIZERS[:-1]:
        assert await step(statements, store)
    await connection.execute(FILES, 1)
    assert not await step(statements, store), "it pauses, so that a table that no step knows keeps no core busy"
    assert [row["done"] for row in await connection.fetch(STEPS)] == [False] * len(FINALIZERS)
    await until_it_rests(statements, store)
    assert await connection.fetchval("SELECT count(*) FROM zones WHERE zone_id = 'alpha'") == 0


async def test_an_active_zone_is_left_alone(
    statements: Statements, store: ObjectStore, zone: UUID, connection: asyncpg.Connection[Any]
) -> None:
    del zone
    await connection.execute(FILES, 3)
    assert not await step(statements, store)
    assert await connection.fetchval("SELECT count(*) FROM files") == 3


async def test_every_table_of_zones_is_kept_by_the_row(connection: asyncpg.Connection[Any]) -> None:
    """A table that is forgotten in the steps refuses the deletion of the zone's row."""
    zoned = await connection.fetch(
        "SELECT table_name FROM information_schema.columns WHERE column_name = 'zone_id' AND table_name <> 'zones'"
        " AND table_schema = 'public'"
    )
    kept = await connection.fetch(
        "SELECT conrelid::regclass::text AS name FROM pg_constraint WHERE contype = 'f' AND confrelid = ANY"
        " (ARRAY['zones', 'files', 'objects', 'agents', 'tasks', 'mounts']::regclass[])"
    )
    assert {row["table_name"] for row in zoned} == {row["name"] for row in kept}


async def test_events_past_their_days_go_oldest_first(
    engine: AsyncEngine, statements: Statements, zone: UUID, connection: asyncpg.Connection[Any]
) -> None:
    del zone
    now = datetime.now(UTC)
    for days in (40, 31, 29, 0):
        await connection.execute("UPDATE zones SET event_at = '-infinity' WHERE zone_id = 'alpha'")
        async with within(statements, "alpha") as tx:
            number = await commit_change(tx, "alpha", Change(type="write", path="/f"))
        await connection.execute(
            "UPDATE events SET occurred_at = $1 WHERE sequence_number = $2", now - timedelta(days=days), number
        )
    assert await remove_events(engine, now - timedelta(days=30), now) == (2, True)
    assert [row[0] for row in await connection.fetch("SELECT sequence_number FROM events ORDER BY 1")] == [3, 4]
