"""Deliveries and resolved conflicts are forgotten after their days; what is open stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from nexmdm.platform.retention import remove_sync

RUN = """
    INSERT INTO mount_runs (zone_id, mount_id, mount_point, trigger, finished_at, lease_until)
    VALUES ('alpha', gen_random_uuid(), '/m', 'loop', $1, $2)
"""
CONFLICT = """
    INSERT INTO mount_conflicts (zone_id, mount_id, mount_point, path, status, resolution, resolved_at)
    VALUES ('alpha', gen_random_uuid(), '/m', 'a', 'resolved', 'abort', $1)
"""
OPEN = """
    INSERT INTO mount_conflicts (zone_id, mount_id, mount_point, path, created_at)
    SELECT zone_id, mount_id, mount_point, 'a', $1 FROM mounts
"""
MOUNT = (
    "INSERT INTO mounts (zone_id, mount_point, owner, backend_type, config) VALUES ('alpha', '/m', 'o', 'local', '{}')"
)


@pytest.mark.usefixtures("zone")
async def test_runs_and_conflicts_are_forgotten(engine: AsyncEngine, connection: asyncpg.Connection[Any]) -> None:
    now = datetime.now(UTC)
    for days in (31, 31, 29):
        await connection.execute(RUN, now - timedelta(days=days), None)
        await connection.execute(CONFLICT, now - timedelta(days=days))
    await connection.execute(RUN, None, now)
    await connection.execute(MOUNT)
    await connection.execute(OPEN, now - timedelta(days=31))
    assert await remove_sync(engine, now - timedelta(days=30), now) == (4, True)
    assert await connection.fetchval("SELECT count(*) FROM mount_runs") == 2
    assert await connection.fetchval("SELECT count(*) FROM mount_conflicts") == 2
    assert await remove_sync(engine, now - timedelta(days=30), now) == (0, True)
