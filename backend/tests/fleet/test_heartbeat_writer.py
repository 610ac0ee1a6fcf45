"""The heartbeat writer's invariants on a real PostgreSQL: one row per bucket, no harm to batch-mates, recovery."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from support.database import store_device

from nexmdm.fleet.heartbeat_writer import Beat, HeartbeatWriter
from nexmdm.kernel.database import Database, is_unavailable
from nexmdm.kernel.problems import Problem

MOST = 1_000


def beat(device_id: UUID, status: str = "ok", version: int = 1, **fields: Any) -> Beat:
    return Beat(device_id, version, {"status": status, **fields}, "127.0.0.1")


@pytest.fixture
async def writer(db: Database) -> AsyncIterator[HeartbeatWriter]:
    async with HeartbeatWriter(db, MOST) as made:
        yield made


async def rows(connection: asyncpg.Connection[Any]) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM device_heartbeats")
    return count


async def test_many_beats_of_one_device_through_two_writers_store_one_row_per_bucket(
    db: Database, connection: asyncpg.Connection[Any]
) -> None:
    device = await store_device(connection)
    async with HeartbeatWriter(db, MOST) as one, HeartbeatWriter(db, MOST) as two:
        stored = await asyncio.gather(*(w.submit(beat(device)) for w in (one, two) for _ in range(200)))
    assert all(result is not None for result in stored)
    ingested = sum(result.ingested for result in stored if result)
    buckets = {result.bucket for result in stored if result}
    assert ingested == await rows(connection) == len(buckets) <= 2


async def test_a_duplicate_still_moves_the_status(writer: HeartbeatWriter, connection: asyncpg.Connection[Any]) -> None:
    device = await store_device(connection)
    await asyncio.gather(writer.submit(beat(device, "ok")), writer.submit(beat(device, "error")))
    assert await connection.fetchval("SELECT last_status FROM device_status") == "error"


async def test_two_writers_that_lock_the_same_devices_in_other_orders_do_not_deadlock(
    db: Database, connection: asyncpg.Connection[Any]
) -> None:
    devices = [await store_device(connection) for _ in range(20)]
    async with HeartbeatWriter(db, MOST) as one, HeartbeatWriter(db, MOST) as two:
        for _ in range(10):
            forth = [one.submit(beat(device)) for device in devices]
            back = [two.submit(beat(device)) for device in reversed(devices)]
            assert None not in await asyncio.gather(*forth, *back)


async def test_a_failing_row_does_not_fail_its_batch_mates(
    writer: HeartbeatWriter, connection: asyncpg.Connection[Any]
) -> None:
    good, bad = await store_device(connection), await store_device(connection)
    answers = await asyncio.gather(
        writer.submit(beat(good)),
        writer.submit(beat(bad, battery_pct=500)),  # past the shape, refused by the CHECK
        return_exceptions=True,
    )
    assert not isinstance(answers[0], BaseException)
    assert isinstance(answers[1], asyncpg.CheckViolationError)
    assert await rows(connection) == 1


async def test_a_retired_an_unknown_and_a_replaced_device_store_nothing(
    writer: HeartbeatWriter, connection: asyncpg.Connection[Any]
) -> None:
    active = await store_device(connection)
    retired = await store_device(connection)
    await connection.execute("UPDATE devices SET retired_at = now() WHERE device_id = $1", retired)
    stale = [beat(retired), beat(uuid4()), beat(active, version=2)]
    assert await asyncio.gather(*map(writer.submit, stale)) == [None, None, None]
    assert await rows(connection) == 0


async def test_a_caller_that_leaves_does_not_disturb_the_others(
    writer: HeartbeatWriter, connection: asyncpg.Connection[Any]
) -> None:
    leaver, stayer = await store_device(connection), await store_device(connection)
    leaving = writer.submit(beat(leaver))
    staying = writer.submit(beat(stayer))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying is not None


async def test_a_lost_connection_is_an_outage_and_the_next_beat_is_stored(
    writer: HeartbeatWriter, connection: asyncpg.Connection[Any]
) -> None:
    device = await store_device(connection)
    await writer.submit(beat(device))
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    (outcome,) = await asyncio.gather(writer.submit(beat(device)), return_exceptions=True)
    # Either the writer had noticed by then, or the caller is told of an outage; never of anything else.
    assert is_unavailable(outcome) if isinstance(outcome, BaseException) else outcome is not None
    assert await writer.submit(beat(device)) is not None


async def test_a_missing_partition_is_made_on_the_way(
    writer: HeartbeatWriter, connection: asyncpg.Connection[Any]
) -> None:
    device = await store_device(connection)
    await connection.execute("SELECT nexmdm_drop_heartbeat_partitions(current_date + 30)")
    stored = await writer.submit(beat(device))
    assert stored is not None
    assert stored.ingested


async def test_beyond_a_bound_beats_are_turned_away_until_there_is_room(
    writer: HeartbeatWriter, connection: asyncpg.Connection[Any]
) -> None:
    device = await store_device(connection)
    waiting = [writer.submit(beat(device)) for _ in range(MOST)]
    with pytest.raises(Problem) as full:
        writer.submit(beat(device))
    assert full.value.code == "overloaded"
    assert None not in await asyncio.gather(*waiting)
    assert await writer.submit(beat(device)) is not None


async def test_closing_writes_what_waits(db: Database, connection: asyncpg.Connection[Any]) -> None:
    device = await store_device(connection)
    async with HeartbeatWriter(db, MOST) as writer:
        waiting = writer.submit(beat(device))
        await asyncio.sleep(0)
    assert await waiting is not None
    assert await rows(connection) == 1
