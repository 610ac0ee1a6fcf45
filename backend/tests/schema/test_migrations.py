"""The revisions against a real server: reversible, complete, fast, safe beside one another; old rows move along."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from sqlalchemy import NullPool, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from nexmdm.schema import migrations, revisions
from nexmdm.schema.metadata import METADATA

DEVICE = "01980000-0000-7000-8000-000000000001"
BCRYPT = "$2b$10$" + "a" * 53
Execute = Callable[..., list[asyncpg.Record]]
Objects = Callable[[str], set[str]]
OBJECTS = """
    SELECT relname || ' ' || relkind::text || ' ' || relpersistence::text AS object FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relname !~ '_[0-9]{8}' AND relname !~ '^alembic_version'
    UNION ALL
    SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text !~ '_[0-9]{8}|^alembic_version'
    UNION ALL
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexname !~ '_[0-9]{8}|^alembic_version'
    UNION ALL
    SELECT attrelid::regclass || '.' || attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull || ' '
        || attidentity::text || ' ' || coalesce(pg_get_expr(adbin, adrelid), '')
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p')
        AND relname !~ '_[0-9]{8}' AND relname <> 'alembic_version'
"""


@pytest.fixture
def objects(execute: Execute) -> Objects:
    """Names and definitions of everything in the schema, partitions and alembic's own table excepted."""
    return lambda url: {row["object"] for row in execute(url, OBJECTS)}


def test_up_down_and_up_again_leave_the_same_schema_and_nothing_behind(
    empty_database_url: str, objects: Objects, execute: Execute
) -> None:
    nothing = objects(empty_database_url)
    migrations.upgrade(empty_database_url)
    first = objects(empty_database_url)
    migrations.downgrade(empty_database_url, "base")
    functions = "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    assert objects(empty_database_url) == nothing
    assert execute(empty_database_url, functions) == []
    migrations.upgrade(empty_database_url)
    assert objects(empty_database_url) == first
    assert len(first) > 200


@pytest.mark.slow
def test_each_revision_can_be_taken_back_alone(empty_database_url: str, objects: Objects) -> None:
    numbers = [
        "7ac6ecbe4e31", "a43a2b52588a", "c2d81f6a90b7", "e90b5d3c1f48", "5b1f0c7de2a4", "3f6c2a9be071", "d47a90c15e63",
        "81d5e2b7a3c6", "b6e41c07d925", "f3a90d6c1b57", "0c7e4b8a9d12", "5a1d0c9e7b34",
        "6b2e1dafbc45", "9d4e6f1a2b83", "c4f7a2e81d36", "d15c8e0b47f2",
    ]  # fmt: skip
    states = []
    for revision in numbers:
        migrations.upgrade(empty_database_url, revision)
        states.append(objects(empty_database_url))
    assert numbers[-1] == revisions.head()
    for revision, state in zip(reversed(numbers[:-1]), reversed(states[:-1]), strict=True):
        migrations.downgrade(empty_database_url, revision)
        assert objects(empty_database_url) == state


def test_the_schema_is_that_of_tables_py_checks_and_defaults_included(
    empty_database_url: str, database_url: str, objects: Objects
) -> None:
    async def create() -> None:
        engine = create_async_engine(
            make_url(empty_database_url).set(drivername="postgresql+asyncpg"), poolclass=NullPool
        )
        async with engine.begin() as connection:
            await connection.run_sync(METADATA.create_all)
        await engine.dispose()

    asyncio.run(create())
    assert migrations.check(database_url) == []
    assert objects(empty_database_url) == objects(database_url)


def test_check_names_a_difference(database_url: str, execute: Execute) -> None:
    execute(database_url, "ALTER TABLE devices DROP COLUMN serial", "DROP INDEX idx_apk_build_type")
    differences = migrations.check(database_url)
    assert len(differences) == 2
    assert any("serial" in difference for difference in differences)
    assert any("idx_apk_build_type" in difference for difference in differences)


async def test_a_second_migration_waits_for_the_first_and_finds_no_work(
    empty_database_url: str, server_url: str
) -> None:
    watcher, blocker = await asyncpg.connect(server_url), await asyncpg.connect(empty_database_url)
    await blocker.execute("BEGIN; CREATE TABLE commands ()")  # until this is rolled back, the first cannot make its own
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'"
    # Processes, as in a deployment: alembic keeps the state of a run in a module, which threads would share.
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        runs = [pool.submit(migrations.upgrade, empty_database_url) for _ in range(2)]
        for _ in range(1500):
            if await watcher.fetchval(waiting, make_url(empty_database_url).database) == 2:
                break
            await asyncio.sleep(0.02)
        await blocker.execute("ROLLBACK")
        for run in runs:
            await asyncio.wrap_future(run)
    assert await blocker.fetchval("SELECT version_num FROM alembic_version") == revisions.head()
    await watcher.close()
    await blocker.close()


def test_a_revision_that_fails_leaves_the_schema_as_it_was(
    empty_database_url: str, objects: Objects, execute: Execute
) -> None:
    migrations.upgrade(empty_database_url, "7ac6ecbe4e31")
    execute(empty_database_url, "CREATE VIEW commands AS SELECT 1")  # in the way of the last revision
    before = objects(empty_database_url)
    with pytest.raises(Exception, match="commands"):
        migrations.upgrade(empty_database_url)
    assert objects(empty_database_url) == before


async def test_current_tells_the_revision_or_none(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        assert await revisions.current(connection) == revisions.head()
        await connection.execute(text("DROP TABLE alembic_version"))
        assert await revisions.current(connection) is None
        await connection.execute(text("SELECT 1"))  # the transaction has survived the question


def test_rows_of_the_baseline_reach_head_and_come_back(empty_database_url: str, execute: Execute) -> None:
    now = datetime.now(UTC)
    old = now - timedelta(days=9)
    day = f"{now - timedelta(days=12):%Y-%m-%d}"
    migrations.upgrade(empty_database_url, "7ac6ecbe4e31")
    execute(
        empty_database_url,
        f"""INSERT INTO devices (device_id, alias, token_hash, agent_version)
            VALUES ('{DEVICE}', 'D01', '{BCRYPT}', '1')""",
        f"""INSERT INTO device_heartbeats (device_id, ts, status) VALUES ('{DEVICE}', '{old}', 'warn'),
            ('{DEVICE}', '{day}T00:00:01Z', 'ok'), ('{DEVICE}', '{day}T00:00:09Z', 'error')""",
        f"INSERT INTO apk_versions (version_code, version_name, size_bytes, sha256) VALUES (7, '7', 1, '{'a' * 64}')",
        f"""INSERT INTO fcm_dispatches (request_id, device_id, action, payload_hash, sent_at, fcm_message_id)
            VALUES ('one', '{DEVICE}', 'ping', '{"b" * 64}', '{old}', 'm1'),
            ('two', '{DEVICE}', 'ping', '{"b" * 64}', NULL, NULL)""",
    )
    migrations.upgrade(empty_database_url)
    heartbeats = execute(empty_database_url, "SELECT status, bucket FROM device_heartbeats ORDER BY bucket")
    assert [row["status"] for row in heartbeats] == ["ok", "warn"]  # two of one bucket: the first stays
    assert execute(empty_database_url, "SELECT last_status FROM device_status")[0][0] == "warn"
    dispatches = execute(empty_database_url, "SELECT request_id, status FROM fcm_dispatches ORDER BY request_id")
    assert [tuple(row) for row in dispatches] == [("one", "sent"), ("two", "failed")]
    build = execute(empty_database_url, "SELECT package_name, build_type, storage_url FROM apk_versions")[0]
    assert tuple(build) == ("com.example.app", "release", f"{'a' * 64}.apk")
    migrations.downgrade(empty_database_url, "7ac6ecbe4e31")
    assert execute(empty_database_url, "SELECT count(*) FROM device_heartbeats")[0][0] == 2
    assert execute(empty_database_url, "SELECT count(*) FROM fcm_dispatches")[0][0] == 2


def test_devices_that_share_an_fcm_token_reach_head(empty_database_url: str, execute: Execute) -> None:
    migrations.upgrade(empty_database_url, "3f6c2a9be071")
    changed_at = {"older": 1, "alone": 2, "newer": 3, "dead": 4, "retired": 5}
    for alias, minutes in changed_at.items():
        at, token = f"now() + interval '{minutes} minutes'", "own" if alias == "alone" else "shared"
        dead_at, retired_at = at if alias == "dead" else "NULL", at if alias == "retired" else "NULL"
        execute(
            empty_database_url,
            f"""INSERT INTO devices
                (device_id, alias, token_hash, agent_version, fcm_token, fcm_token_dead_at, retired_at, updated_at)
                VALUES
                ('{DEVICE[:-1]}{minutes}', '{alias}', '{BCRYPT}', '1', '{token}', {dead_at}, {retired_at}, {at})""",
        )
    migrations.upgrade(empty_database_url)
    rows = execute(empty_database_url, "SELECT alias, fcm_token, fcm_token_dead_at IS NULL AS live FROM devices")
    assert {row["alias"]: (row["fcm_token"], row["live"]) for row in rows} == {
        "older": ("shared", False),
        "newer": ("shared", True),
        "dead": ("shared", False),
        "retired": (None, True),
        "alone": ("own", True),
    }
    with pytest.raises(asyncpg.UniqueViolationError, match="uq_devices_live_fcm_token"):
        execute(empty_database_url, "UPDATE devices SET fcm_token = 'shared' WHERE alias = 'alone'")
    migrations.downgrade(empty_database_url, "3f6c2a9be071")
    execute(empty_database_url, "UPDATE devices SET fcm_token = 'shared' WHERE alias = 'alone'")
