"""Agents in the database: rows that cannot be, and the loop that makes silent ones idle, beside others of its kind."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from nexmdm.kernel.statements import Statements
from nexmdm.platform import agent_expiry
from nexmdm.platform.agent_expiry import silence

TTL_S = 90.0
SILENT = """
    INSERT INTO agents (zone_id, agent_id, user_id, name, state, generation, connected_at, last_heartbeat)
    SELECT $1, 'silent-' || n, 'u', 'n', 'CONNECTED', 1, now() - interval '1 day', now() - make_interval(secs => $2)
    FROM generate_series(1, $3) AS n
"""
STATES = "SELECT state, count(*) AS agents FROM agents GROUP BY state"
EVENTS = "SELECT count(*) FROM events WHERE type = 'agent.transition'"
pytestmark = pytest.mark.usefixtures("zone")


async def states(connection: asyncpg.Connection[Any]) -> dict[str, int]:
    return {row["state"]: row["agents"] for row in await connection.fetch(STATES)}


@pytest.mark.parametrize(
    "values,constraint",
    [
        ({"state": "'DEAD'", "generation": "1", "connected_at": "now()"}, "state"),
        ({"state": "'CONNECTED'", "connected_at": "now()"}, "generation"),
        ({"generation": "1"}, "generation"),
        ({"state": "'IDLE'", "generation": "1"}, "connected_has_time"),
        ({"observed_generation": "1"}, "observed_generation"),
        ({"spec_generation": "1", "qos_class": "'spot'"}, "spec_has_type"),
        ({"spec_generation": "1", "agent_type": "'a'"}, "spec_has_class"),
        ({"spec_generation": "1", "agent_type": "'a'", "qos_class": "'gold'"}, "qos_class"),
        ({"tokens_used": "-1"}, "usage"),
        ({"context_usage_pct": "'NaN'"}, "context_usage_pct"),
        ({"warmup": "gen_random_uuid()"}, "warmup_ends"),
        ({"agent_id": "'a b'"}, "agent_id"),
    ],
    ids=str,
)
async def test_a_row_that_cannot_be(
    values: dict[str, str], constraint: str, connection: asyncpg.Connection[Any]
) -> None:
    row = {"zone_id": "'alpha'", "agent_id": "'a'", "user_id": "'u'", "name": "'n'"} | values
    with pytest.raises(asyncpg.CheckViolationError, match=f"ck_agents_{constraint}"):
        await connection.execute(f"INSERT INTO agents ({', '.join(row)}) VALUES ({', '.join(row.values())})")


async def test_silent_ones_become_idle_batch_by_batch(
    statements: Statements, connection: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_expiry, "_BATCH", 2)
    await connection.execute(SILENT, "alpha", 3 * TTL_S + 5, 3)
    await connection.execute(SILENT.replace("silent", "heard"), "alpha", 3 * TTL_S - 5, 1)
    await connection.execute(SILENT, "root", 3 * TTL_S + 5, 1)
    assert await silence(statements, TTL_S)
    assert await silence(statements, TTL_S)
    assert not await silence(statements, TTL_S)
    assert await states(connection) == {"IDLE": 4, "CONNECTED": 1}
    assert await connection.fetchval(EVENTS) == 4


async def test_several_loops_move_each_agent_once(statements: Statements, connection: asyncpg.Connection[Any]) -> None:
    await connection.execute(SILENT, "alpha", 4 * TTL_S, 20)
    await asyncio.gather(*(silence(statements, TTL_S) for _ in range(4)))
    assert await states(connection) == {"IDLE": 20}
    assert await connection.fetchval(EVENTS) == 20


async def test_an_agent_that_somebody_holds_is_passed_over(
    statements: Statements, connection: asyncpg.Connection[Any]
) -> None:
    await connection.execute(SILENT, "alpha", 4 * TTL_S, 2)
    async with connection.transaction():
        await connection.execute("SELECT FROM agents WHERE agent_id = 'silent-1' FOR UPDATE")
        async with asyncio.timeout(3):
            await silence(statements, TTL_S)
        await connection.execute("UPDATE agents SET last_heartbeat = now() WHERE agent_id = 'silent-1'")
    await silence(statements, TTL_S)
    assert await states(connection) == {"IDLE": 1, "CONNECTED": 1}


async def test_a_zone_that_ends_is_left_alone(statements: Statements, connection: asyncpg.Connection[Any]) -> None:
    await connection.execute(SILENT, "alpha", 4 * TTL_S, 1)
    await connection.execute("UPDATE zones SET phase = 'Terminating', terminating_at = now() WHERE zone_id = 'alpha'")
    assert not await silence(statements, TTL_S)
    assert await states(connection) == {"CONNECTED": 1}
