"""What the table of API keys lets the service's own role do."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

INSERT = "INSERT INTO api_keys (name, role, zone, key_hash) VALUES ($1, $2, $3, md5($1) || md5($1))"


async def test_a_revoked_key_stays_revoked(connection: asyncpg.Connection[Any]) -> None:
    await connection.execute(INSERT, "m", "member", "alpha")
    first = await connection.fetchval("UPDATE api_keys SET revoked_at = '2026-01-01' RETURNING revoked_at")
    for later in ("NULL", "now()"):
        assert await connection.fetchval(f"UPDATE api_keys SET revoked_at = {later} RETURNING revoked_at") == first


async def test_only_the_owner_makes_keys_for_every_zone(connection: asyncpg.Connection[Any]) -> None:
    await connection.execute(INSERT, "owner-s", "admin", None)
    async with connection.transaction():
        await connection.execute("GRANT INSERT ON api_keys TO pg_monitor; SET LOCAL ROLE pg_monitor")
        await connection.execute(INSERT, "m", "member", "alpha")
        for role in ("admin", "track"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with connection.transaction():
                    await connection.execute(INSERT, role, role, None)
