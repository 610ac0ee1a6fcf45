"""Retention against a real server: what is past its period goes, what is not stays, to the second and to the day."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from support.database import settings_for

from nexmdm.app import SERVICES
from nexmdm.jobs import retention
from nexmdm.jobs.retention import Cleanup
from nexmdm.kernel.log import Event
from nexmdm.kernel.settings import Limit

NOW = datetime(2030, 3, 10, 15, 30, tzinfo=UTC)
DEVICE = UUID("01980000-0000-7000-8000-000000000001")
TOKEN = UUID("01980000-0000-7000-8000-00000000000a")
SETTINGS = settings_for("postgresql://unused/unused", limit_apk_ip=Limit(10, 600))


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, dict[str, Any]]]:
    """What retention logs: (event, level, fields)."""
    seen: list[tuple[str, str, dict[str, Any]]] = []

    def emit(event: Event, level: str = "info", **fields: Any) -> None:
        seen.append((str(event), level, fields))

    monkeypatch.setattr("nexmdm.jobs.retention.emit", emit)
    monkeypatch.setattr("nexmdm.kernel.database.emit", emit)
    return seen


@pytest.fixture
async def db(connection: asyncpg.Connection[Any]) -> asyncpg.Connection[Any]:
    await connection.execute(
        "INSERT INTO devices (device_id, alias, token_hash, agent_version) VALUES ($1, 'D01', $2, '1')",
        DEVICE,
        "$2b$10$" + "a" * 53,
    )
    return connection


async def heartbeat(db: asyncpg.Connection[Any], at: datetime) -> None:
    await db.execute("SELECT nexmdm_ensure_heartbeat_partitions($1, $1)", at.date())
    await db.execute(
        """INSERT INTO device_heartbeats (device_id, bucket, ts, status)
           VALUES ($1, date_bin('10 seconds', $2::timestamptz, TIMESTAMPTZ 'epoch'), $2, 'ok')""",
        DEVICE,
        at,
    )


async def dispatch(
    db: asyncpg.Connection[Any], name: str, at: datetime, status: str = "sent", ttl_days: int = 1
) -> None:
    expires = at + timedelta(days=ttl_days)
    await db.execute(
        """INSERT INTO commands (request_id, action, content_hash, http_request_id, created_at, expires_at)
           VALUES ($1, 'ping', repeat('a', 64), 'h', $2, $3)""",
        name,
        at,
        expires,
    )
    await db.execute(
        """INSERT INTO fcm_dispatches
               (request_id, command_request_id, ordinal, device_id, action, payload_hash, status, created_at,
                expires_at, sent_at)
           VALUES ($1, $1, 0, $2, 'ping', repeat('a', 64), $3::text, $4::timestamptz,
                $5, CASE WHEN $3 = 'sent' THEN $4::timestamptz END)""",
        name,
        DEVICE,
        status,
        at,
        expires,
    )
    await db.execute("INSERT INTO dispatch_transitions (request_id, status) VALUES ($1, 'queued')", name)


async def names(db: asyncpg.Connection[Any], query: str) -> list[Any]:
    return [row[0] for row in await db.fetch(query)]


def of(results: list[Cleanup], entity: str) -> Cleanup:
    return next(result for result in results if result.entity == entity)


async def test_a_day_of_heartbeats_goes_when_its_last_second_is_past_the_period(
    engine: AsyncEngine, db: asyncpg.Connection[Any]
) -> None:
    kept = [datetime(2030, 3, 8, tzinfo=UTC), datetime(2030, 3, 8, 15, 29, tzinfo=UTC), NOW]
    gone = [datetime(2030, 3, 7, 23, 59, 59, tzinfo=UTC), datetime(2030, 3, 5, tzinfo=UTC)]
    for at in [*kept, *gone]:
        await heartbeat(db, at)
    result = of(await retention.run(engine, SETTINGS, SERVICES, NOW), "device_heartbeats")
    assert await names(db, "SELECT ts FROM device_heartbeats ORDER BY ts") == kept
    assert (result.deleted, result.cutoff, result.complete) == (2, datetime(2030, 3, 8, tzinfo=UTC), True)
    assert not await db.fetchval("SELECT to_regclass('device_heartbeats_20300307') IS NOT NULL")


async def test_the_days_to_come_are_made_and_a_second_run_finds_no_work(
    engine: AsyncEngine, db: asyncpg.Connection[Any]
) -> None:
    await retention.run(engine, SETTINGS, SERVICES, NOW)
    days = "SELECT relname FROM pg_class WHERE relname ~ '^device_heartbeats_2030[0-9]{4}$' ORDER BY 1"
    assert await names(db, days) == [f"device_heartbeats_203003{day:02}" for day in range(9, 14)]
    assert [result.deleted for result in await retention.run(engine, SETTINGS, SERVICES, NOW)] == [0] * 11


async def test_dispatches_go_after_their_days_with_transitions_and_commands(
    engine: AsyncEngine, db: asyncpg.Connection[Any]
) -> None:
    edge = NOW - timedelta(days=2)
    await dispatch(db, "old", edge - timedelta(microseconds=1))
    await dispatch(db, "edge", edge)
    await dispatch(db, "young", NOW)
    await dispatch(db, "unsent", edge - timedelta(days=1), "queued")
    await dispatch(db, "still-due", edge - timedelta(days=1), "queued", ttl_days=9)
    results = await retention.run(engine, SETTINGS, SERVICES, NOW)
    for table in ("fcm_dispatches", "commands", "dispatch_transitions"):
        kept = await names(db, f"SELECT request_id FROM {table} ORDER BY 1")
        assert kept == ["edge", "still-due", "young"], table
    assert of(results, "fcm_dispatches").deleted == of(results, "commands").deleted == 2


async def test_download_events_and_spent_limits_go_after_their_periods(
    engine: AsyncEngine, db: asyncpg.Connection[Any]
) -> None:
    await db.execute(
        """INSERT INTO apk_versions (version_code, version_name, size_bytes, sha256, storage_url)
           VALUES (1, '1', 1, repeat('a', 64), 'x')"""
    )
    for at in (NOW - timedelta(days=7, seconds=1), NOW - timedelta(days=7), NOW):
        await db.execute(
            "INSERT INTO apk_download_events (build_id, source, admin_user, ts) VALUES (1, 'manual', 'admin', $1)", at
        )
    for subject, age_s in (("spent", 1201), ("prior", 1200), ("current", 5)):  # the longest window is 600 s
        await db.execute(
            "INSERT INTO rate_limits (rule, subject, window_start, hits) VALUES ('apk_ip', $1, $2, 3)",
            subject,
            NOW - timedelta(seconds=age_s),
        )
    await retention.run(engine, SETTINGS, SERVICES, NOW)
    assert await db.fetchval("SELECT count(*) FROM apk_download_events") == 2
    assert await names(db, "SELECT subject FROM rate_limits ORDER BY 1") == ["current", "prior"]


async def test_more_rows_than_a_batch_are_all_deleted(engine: AsyncEngine, db: asyncpg.Connection[Any]) -> None:
    await db.execute(
        """INSERT INTO commands (request_id, action, content_hash, http_request_id, created_at, expires_at)
           SELECT n::text, 'ping', repeat('a', 64), 'h', $1::timestamptz, $1 + interval '1 hour'
           FROM generate_series(1, 2500) AS n""",
        NOW - timedelta(days=3),
    )
    assert of(await retention.run(engine, SETTINGS, SERVICES, NOW), "commands").deleted == 2500
    assert await db.fetchval("SELECT count(*) FROM commands") == 0


async def test_two_runs_beside_one_another_remove_each_row_once(
    engine: AsyncEngine, db: asyncpg.Connection[Any]
) -> None:
    for day in range(1, 7):
        await heartbeat(db, datetime(2030, 3, day, 12, tzinfo=UTC))
        await dispatch(db, f"d{day}", datetime(2030, 3, day, 12, tzinfo=UTC))
    runs = await asyncio.gather(*(retention.run(engine, SETTINGS, SERVICES, NOW) for _ in range(3)))
    assert sum(of(results, "device_heartbeats").deleted for results in runs) == 6
    assert sum(of(results, "fcm_dispatches").deleted for results in runs) == 6


async def test_a_table_in_use_is_left_for_the_next_run(
    engine: AsyncEngine,
    database_url: str,
    db: asyncpg.Connection[Any],
    lines: list[tuple[str, str, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nexmdm.fleet.retention._LOCK_TRIES", 3)
    await heartbeat(db, datetime(2030, 3, 5, tzinfo=UTC))
    reader = await asyncpg.connect(database_url)
    transaction = reader.transaction()
    await transaction.start()
    await reader.fetch("SELECT FROM device_heartbeats WHERE bucket >= $1", NOW)  # holds the parent, not the old day
    result = of(await retention.run(engine, SETTINGS, SERVICES, NOW), "device_heartbeats")
    assert (result.deleted, result.complete) == (0, False)
    assert ("retention.cleanup", "warning") in [(event, level) for event, level, _ in lines]
    await transaction.rollback()
    await reader.close()
    assert of(await retention.run(engine, SETTINGS, SERVICES, NOW), "device_heartbeats").deleted == 1


async def test_every_table_gets_its_lines(
    engine: AsyncEngine, db: asyncpg.Connection[Any], lines: list[tuple[str, str, dict[str, Any]]]
) -> None:
    await dispatch(db, "old", datetime(2030, 3, 1, tzinfo=UTC))
    await retention.run(engine, SETTINGS, SERVICES, NOW)
    cleanups = {fields["entity"]: fields for event, _, fields in lines if event == "retention.cleanup"}
    operations = {fields["entity"]: fields for event, _, fields in lines if event == "db_operation"}
    assert set(cleanups) == {
        "device_heartbeats",
        "fcm_dispatches",
        "apk_download_events",
        "allocations",
        "events",
        "sync",
        "tasks",
    }
    assert set(operations) == {*cleanups, "commands", "rate_limits", "sync_runs", "waiters"}
    line = cleanups["fcm_dispatches"]
    assert (line["deleted"], line["cutoff"]) == (1, "2030-03-08T15:30:00Z")
    assert line["latency_ms"] >= 0
    assert operations["fcm_dispatches"]["operation"] == "cleanup"
    assert operations["fcm_dispatches"]["keys"] == {"cutoff": "2030-03-08T15:30:00Z", "deleted": 1}
