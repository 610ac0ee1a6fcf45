"""The plans of an allocation, which its connection keeps."""

from __future__ import annotations

from typing import Any

import asyncpg
from support.database import settings_for
from support.sandboxes import store_sandbox

from nexmdm.kernel.database import Database
from nexmdm.sandboxes.decisions import Ask, Decisions

KEY_HASH = "0" * 64
SCANS = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'sandboxes'"


async def outcomes(decisions: Decisions, name: str, count: int) -> set[str]:
    """Of so many new tracks; the statistics of their connection are then out."""
    asked = [await decisions.call(Ask(KEY_HASH, f"{name}-{number}", None, None)) for number in range(count)]
    await decisions.fetch("SELECT pg_stat_force_next_flush()")
    return {decision.outcome for decision in asked}


async def test_plans_of_a_small_pool_read_no_large_one_from_end_to_end(
    database_url: str, db: Database, connection: asyncpg.Connection[Any]
) -> None:
    await connection.execute(
        "INSERT INTO api_keys (name, role, key_hash, last_used_at) VALUES ('labs', 'track', $1, now())", KEY_HASH
    )
    for number in range(10):
        await store_sandbox(connection, f"first-{number}")
    await connection.execute("ANALYZE sandboxes")
    async with Decisions(db, settings_for(database_url, allocation_connections=1)) as decisions:
        assert await outcomes(decisions, "before", 8) == {"new"}
        scans = await connection.fetchval(SCANS)
        for number in range(100):
            await store_sandbox(connection, f"later-{number}")
        assert await outcomes(decisions, "after", 50) == {"new"}
    assert await connection.fetchval(SCANS) == scans
