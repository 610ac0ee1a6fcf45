"""The rows of agents: found, locked, and moved from state to state, each move by one UPDATE with its condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import asyncpg
import orjson

from nexmdm.platform.rpc_errors import AGENT_NOT_FOUND, INVALID_TRANSITION, STALE_GENERATION, RpcError
from nexmdm.platform.types import AgentState

Tx: TypeAlias = "asyncpg.Connection[Any]"

FROM: Final[Mapping[AgentState, Sequence[AgentState]]] = {
    "UNKNOWN": (),
    "CONNECTED": ("UNKNOWN", "IDLE", "SUSPENDED"),
    "IDLE": ("CONNECTED",),
    "SUSPENDED": ("CONNECTED", "IDLE"),
}
SHOWN: Final = """
    SELECT a.*,
        ARRAY(SELECT capability FROM agent_capabilities AS c
            WHERE c.zone_id = a.zone_id AND c.agent_id = a.agent_id ORDER BY capability) AS capabilities,
        EXISTS (SELECT FROM api_keys AS k WHERE k.name = a.key_name AND k.revoked_at IS NULL) AS has_api_key
    FROM agents AS a WHERE a.zone_id = $1
"""
_FIND: Final = f"{SHOWN} AND a.agent_id = $2"
_LOCK: Final = "SELECT FROM agents WHERE zone_id = $1 AND agent_id = $2 FOR UPDATE"
_SESSION: Final = "SELECT state, generation, spec_generation FROM agents WHERE zone_id = $1 AND agent_id = $2"
_SET_CAPABILITIES: Final = """
    WITH gone AS (
        DELETE FROM agent_capabilities
        WHERE zone_id = $1 AND agent_id = $2 AND capability <> ALL ($3::text[]) RETURNING 1
    ), added AS (
        INSERT INTO agent_capabilities (zone_id, agent_id, capability) SELECT $1, $2, unnest($3::text[])
        ON CONFLICT DO NOTHING RETURNING 1
    )
    SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM added)
"""
# `statement_timestamp()` is one time within a statement.
HEARD_AT: Final = "greatest(connected_at, last_heartbeat)"  # of an agent that is or was connected
# Readiness ends when a heartbeat is overdue, or with the state.
_MOVE: Final = f"""
    UPDATE agents SET state = $3, updated_at = statement_timestamp(),
        generation = generation + ($3 = 'CONNECTED')::int,
        connected_at = CASE $3 WHEN 'CONNECTED' THEN statement_timestamp() ELSE connected_at END,
        ready_since = CASE
            WHEN $3 = 'CONNECTED' THEN statement_timestamp()
            WHEN state = 'CONNECTED' THEN least(statement_timestamp(), {HEARD_AT} + make_interval(secs => $6))
            ELSE ready_since
        END
    WHERE zone_id = $1 AND agent_id = $2 AND state = ANY ($4) AND generation = coalesce($5, generation)
    RETURNING agent_id, state, generation
"""  # noqa: S608 - composed of the constant above


async def find(tx: Tx, zone_id: str, agent_id: str) -> asyncpg.Record | None:
    """The agent with its capabilities, and whether it has a key that is good."""
    return await tx.fetchrow(_FIND, zone_id, agent_id)


async def lock(tx: Tx, zone_id: str, agent_id: str) -> bool:
    """Whether there is such an agent, which then nobody else changes."""
    return await tx.fetchrow(_LOCK, zone_id, agent_id) is not None


async def session(tx: Tx, zone_id: str, agent_id: str, generation: int | None) -> asyncpg.Record:
    """State and generations. RpcError: there is no such agent, or its session is another."""
    row = await tx.fetchrow(_SESSION, zone_id, agent_id)
    if row is None:
        raise RpcError(AGENT_NOT_FOUND)
    if generation is not None and generation != row["generation"]:
        raise RpcError(STALE_GENERATION)
    return row


async def set_capabilities(tx: Tx, zone_id: str, agent_id: str, capabilities: Sequence[str]) -> bool:
    """Make them the agent's, whose row is locked; whether that changes anything."""
    return bool(await tx.fetchval(_SET_CAPABILITIES, zone_id, agent_id, capabilities))


async def move(
    tx: Tx, zone_id: str, agent_id: str, target: AgentState, generation: int | None, ttl_s: float
) -> asyncpg.Record:
    """Id, state and generation of the agent in its new state. RpcError: it cannot come into it."""
    while True:
        moved = await tx.fetchrow(_MOVE, zone_id, agent_id, target, FROM[target], generation, ttl_s)
        if moved is not None:
            return moved
        found = await session(tx, zone_id, agent_id, generation)
        if found["state"] not in FROM[target]:  # else it came there since
            message = f"{INVALID_TRANSITION.message} {found['state']} -> {target}"
            raise RpcError(INVALID_TRANSITION._replace(message=message))


def view(row: asyncpg.Record) -> dict[str, Any]:
    """A row of `SHOWN`, as callers see it."""
    return {name: row[name] for name in _COLUMNS} | {"metadata": orjson.loads(row["metadata"])}


_COLUMNS: Final = (
    "agent_id", "user_id", "name", "description", "capabilities", "zone_id", "state", "generation", "has_api_key",
    "created_at", "updated_at", "last_heartbeat", "agent_type", "qos_class", "spec_generation",
)  # fmt: skip
