"""The days of heartbeats: made once by however many callers, in UTC, in nobody's way."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import pytest

DEVICE = "01980000-0000-7000-8000-000000000001"
BCRYPT = "$2b$10$" + "a" * 53


async def days(connection: asyncpg.Connection[Any]) -> list[str]:
    rows = await connection.fetch(
        "SELECT relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid AND c.relkind = 'r' ORDER BY 1"
    )
    return [row["relname"].removeprefix("device_heartbeats_") for row in rows]


async def test_the_partitions_of_yesterday_to_in_three_days_exist(connection: asyncpg.Connection[Any]) -> None:
    today = datetime.now(UTC).date()
    assert await days(connection) == [f"{today + timedelta(days=shift):%Y%m%d}" for shift in range(-1, 4)]


async def test_concurrent_callers_make_each_partition_once(database_url: str, connection: Any) -> None:
    first, last = date(2030, 2, 26), date(2030, 3, 3)

    async def ensure() -> int:
        own = await asyncpg.connect(database_url)
        try:
            made: int = await own.fetchval("SELECT nexmdm_ensure_heartbeat_partitions($1, $2)", first, last)
            return made
        finally:
            await own.close()

    assert sum(await asyncio.gather(*(ensure() for _ in range(8)))) == 6
    assert (await days(connection))[-6:] == ["20300226", "20300227", "20300228", "20300301", "20300302", "20300303"]


async def test_a_partition_is_a_utc_day_whatever_the_session_says(connection: asyncpg.Connection[Any]) -> None:
    await connection.execute("SET timezone = 'Pacific/Auckland'; SET datestyle = 'German'")
    await connection.execute("SELECT nexmdm_ensure_heartbeat_partitions('2030-06-01', '2030-06-01')")
    await connection.execute("SET timezone = 'UTC'; SET datestyle = 'ISO'")
    bound = await connection.fetchval(
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'device_heartbeats_20300601'"
    )
    assert bound == "FOR VALUES FROM ('2030-06-01 00:00:00+00') TO ('2030-06-02 00:00:00+00')"


@pytest.fixture
async def device(connection: asyncpg.Connection[Any]) -> None:
    await connection.execute(
        "INSERT INTO devices (device_id, alias, token_hash, agent_version) VALUES ($1, 'D01', $2, '1')", DEVICE, BCRYPT
    )


async def heartbeat_at_once(connection: asyncpg.Connection[Any]) -> None:
    """Store a heartbeat of `device`, or fail where something makes it wait."""
    await connection.execute("SET lock_timeout = '100ms'")
    await connection.execute(
        """INSERT INTO device_heartbeats (device_id, bucket, ts, status)
           VALUES ($1, date_bin('10 seconds', now(), TIMESTAMPTZ 'epoch'), now(), 'ok')""",
        DEVICE,
    )


@pytest.mark.usefixtures("device")
async def test_a_new_partition_blocks_no_heartbeat(database_url: str, connection: asyncpg.Connection[Any]) -> None:
    maker = await asyncpg.connect(database_url)
    transaction = maker.transaction()
    await transaction.start()
    await maker.execute("SELECT nexmdm_ensure_heartbeat_partitions('2031-01-01', '2031-01-02')")
    await heartbeat_at_once(connection)
    await transaction.rollback()
    await maker.close()


@pytest.mark.usefixtures("device")
async def test_dropping_waits_for_who_is_busy_with_the_old_day_and_blocks_no_heartbeat(
    database_url: str, connection: asyncpg.Connection[Any]
) -> None:
    await connection.execute("SELECT nexmdm_ensure_heartbeat_partitions('2020-01-01', '2020-01-01')")
    vacuum, dropper = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    # The lock that VACUUM and ANALYZE hold.
    await vacuum.execute("BEGIN; LOCK TABLE device_heartbeats_20200101 IN SHARE UPDATE EXCLUSIVE MODE")
    dropping = asyncio.create_task(dropper.fetch("SELECT * FROM nexmdm_drop_heartbeat_partitions('2020-01-02')"))
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'device_heartbeats_20200101'::regclass"
    for _ in range(500):
        if await connection.fetchval(waiting) == 1:
            break
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)  # longer than it would wait for the parent
    await heartbeat_at_once(connection)
    assert not dropping.done()
    await vacuum.execute("COMMIT")
    assert [row["partition_name"] for row in await dropping] == ["device_heartbeats_20200101"]
    await vacuum.close()
    await dropper.close()


@pytest.mark.slow
async def test_dropping_gives_up_soon_while_somebody_reads(database_url: str, connection: Any) -> None:
    reader = await asyncpg.connect(database_url)
    transaction = reader.transaction()
    await transaction.start()
    await reader.fetch("SELECT * FROM device_heartbeats")
    with pytest.raises(asyncpg.LockNotAvailableError):
        await connection.fetch("SELECT * FROM nexmdm_drop_heartbeat_partitions('2100-01-01')", timeout=5)
    await transaction.rollback()
    async with connection.transaction():
        dropped = await connection.fetch("SELECT * FROM nexmdm_drop_heartbeat_partitions('2100-01-01')")
        assert await connection.fetchval("SHOW lock_timeout") == "0", "the caller's own setting is left alone"
    assert [row["row_estimate"] for row in dropped] == [0] * 5
    assert await days(connection) == []
    await reader.close()
