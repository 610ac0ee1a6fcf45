"""Agents over JSON-RPC: registered, changed, looked at, listed, moved from state to state, heard of, deleted."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any, Final

import orjson

from nexmdm.kernel import keys
from nexmdm.kernel.keys import NewKey
from nexmdm.kernel.log import emit
from nexmdm.platform import agent_rows, metrics
from nexmdm.platform.agent_rows import Tx
from nexmdm.platform.agent_shapes import (
    AgentChanges,
    Heartbeat,
    Listed,
    ListedByZone,
    NewAgent,
    OneAgent,
    Transition,
    Usage,
)
from nexmdm.platform.auth import AGENT
from nexmdm.platform.call import Call
from nexmdm.platform.events import (
    AGENT_DELETED,
    AGENT_REGISTERED,
    AGENT_TRANSITION,
    AGENT_UPDATED,
    KEY_CREATED,
    KEY_REVOKED,
)
from nexmdm.platform.rpc import Method
from nexmdm.platform.rpc_errors import (
    AGENT_EXISTS,
    AGENT_FORBIDDEN,
    AGENT_NOT_CONNECTED,
    AGENT_NOT_FOUND,
    SPEC_GENERATION_UNKNOWN,
    ZONE_FORBIDDEN,
    ZONE_NOT_FOUND,
    ZONE_TERMINATING,
    RpcError,
)
from nexmdm.platform.types import EventType, is_zone_id
from nexmdm.platform.zone_row import Change, commit_change

BRICK: Final = "agents"
_MOST_LISTED: Final = 1000

_INSERT: Final = """
    INSERT INTO agents (zone_id, agent_id, user_id, name, description, metadata, key_name)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (zone_id, agent_id) DO NOTHING RETURNING agent_id
"""
# A spec holds the capabilities, too: it is another one with them.
_UPDATE: Final = """
    UPDATE agents SET name = coalesce($3, name), description = coalesce($4, description),
        metadata = coalesce($5::jsonb, metadata), updated_at = statement_timestamp(),
        spec_generation = spec_generation + ($6 AND spec_generation > 0)::int
    WHERE zone_id = $1 AND agent_id = $2 AND ($6 OR (name, description, metadata)
        IS DISTINCT FROM (coalesce($3, name), coalesce($4, description), coalesce($5::jsonb, metadata)))
    RETURNING agent_id
"""
_DELETE: Final = "DELETE FROM agents WHERE zone_id = $1 AND agent_id = $2 RETURNING key_name"
_LIST: Final = f"""
    {agent_rows.SHOWN} AND ($2::text IS NULL OR state = $2) AND ($3::text IS NULL OR agent_id = $3)
    ORDER BY created_at DESC, uid DESC LIMIT {_MOST_LISTED}
"""
_ZONE: Final = "SELECT uid, phase FROM zones WHERE zone_id = $1"
_HEARTBEAT: Final = f"""
    UPDATE agents SET last_heartbeat = statement_timestamp(),
        ready_since = CASE WHEN {agent_rows.HEARD_AT} + make_interval(secs => $8) < statement_timestamp()
            THEN statement_timestamp() ELSE ready_since END,
        observed_generation = greatest(observed_generation, $4), tokens_used = coalesce($5, tokens_used),
        storage_used_mb = coalesce($6, storage_used_mb), context_usage_pct = coalesce($7, context_usage_pct)
    WHERE zone_id = $1 AND agent_id = $2 AND generation = coalesce($3, generation) AND state = 'CONNECTED'
        AND spec_generation >= coalesce($4::bigint, 0)
    RETURNING agent_id
"""  # noqa: S608 - composed of a constant


def _require_own(call: Call, agent_id: str) -> None:
    """RpcError: the caller is an agent, and this is another."""
    if call.caller.role == AGENT and call.caller.agent_id != agent_id:
        raise RpcError(AGENT_FORBIDDEN)


async def _commit(call: Call, tx: Tx, kind: EventType, agent_id: str, agents: int = 0) -> None:
    """The change as an event of the agent that it concerns."""
    change = Change(type=kind, zone_uid=call.caller.zone_uid, agent_id=agent_id, agents=agents)
    await commit_change(tx, call.zone_id, change)


async def _existing(call: Call, tx: Tx, agent_id: str) -> dict[str, Any]:
    row = await agent_rows.find(tx, call.zone_id, agent_id)
    if row is None:
        raise RpcError(AGENT_NOT_FOUND)
    return agent_rows.view(row)


async def register(call: Call, given: NewAgent) -> dict[str, Any]:
    """Register an agent; with a key of its own, which is shown this once, where one is asked for."""
    _require_own(call, given.agent_id)
    zone_id, caller = call.zone_id, call.caller
    key_name = f"agent-{secrets.token_hex(8)}" if given.generate_api_key else None
    if key_name and caller.role == AGENT:
        raise RpcError(AGENT_FORBIDDEN)
    issued = {}
    async with call.changing() as tx:
        if key_name:
            new = NewKey(name=key_name, role=AGENT, zone=zone_id, subject=given.agent_id)
            made = await keys.insert(tx, new)
            assert made is not None, "64 random bits"
            issued = {"api_key": made[0]}
        written = (zone_id, given.agent_id, caller.name, given.name, given.description)
        if await tx.fetchval(_INSERT, *written, orjson.dumps(given.metadata or {}).decode(), key_name) is None:
            raise RpcError(AGENT_EXISTS)
        await agent_rows.set_capabilities(tx, zone_id, given.agent_id, given.capabilities or [])
        agent = await _existing(call, tx, given.agent_id)
        await _commit(call, tx, "agent.registered", given.agent_id, agents=1)
    if key_name:
        emit(KEY_CREATED, name=key_name, role=AGENT, zone=zone_id)
    emit(AGENT_REGISTERED, zone_id=zone_id, agent_id=given.agent_id)
    return agent | issued


async def update(call: Call, given: AgentChanges) -> dict[str, Any]:
    """Change what an agent was registered as. What stays the same is no change."""
    _require_own(call, given.agent_id)
    zone_id, agent_id = call.zone_id, given.agent_id
    metadata = None if given.metadata is None else orjson.dumps(given.metadata).decode()
    async with call.changing() as tx:
        if not await agent_rows.lock(tx, zone_id, agent_id):
            raise RpcError(AGENT_NOT_FOUND)
        others = given.capabilities is not None and await agent_rows.set_capabilities(
            tx, zone_id, agent_id, given.capabilities
        )
        changed = await tx.fetchval(_UPDATE, zone_id, agent_id, given.name, given.description, metadata, others)
        agent = await _existing(call, tx, agent_id)
        if changed is not None:
            await _commit(call, tx, "agent.updated", agent_id)
    if changed is not None:
        emit(AGENT_UPDATED, zone_id=zone_id, agent_id=agent_id)
    return agent


async def get(call: Call, given: OneAgent) -> dict[str, Any] | None:
    """Look at an agent; null where there is none."""
    _require_own(call, given.agent_id)
    async with call.within() as tx:
        row = await agent_rows.find(tx, call.zone_id, given.agent_id)
    return None if row is None else agent_rows.view(row)


async def delete(call: Call, given: OneAgent) -> bool:
    """Delete an agent and revoke the key that was made with it; whether it was there."""
    _require_own(call, given.agent_id)
    async with call.changing() as tx:
        row = await tx.fetchrow(_DELETE, call.zone_id, given.agent_id)
        if row is None:
            return False
        if row["key_name"] is not None:
            await keys.end(tx, row["key_name"])
        await _commit(call, tx, "agent.deleted", given.agent_id, agents=-1)
    if row["key_name"] is not None:
        emit(KEY_REVOKED, name=row["key_name"])
    emit(AGENT_DELETED, zone_id=call.zone_id, agent_id=given.agent_id)
    return True


async def list_all(call: Call, given: Listed | ListedByZone) -> list[dict[str, Any]]:
    """The agents of a zone, newest first, 1,000 at most; an agent sees itself alone."""
    if given.zone_id is not None and given.zone_id != call.zone_id:
        call = await _in_zone(call, given.zone_id)
    own = call.caller.agent_id if call.caller.role == AGENT else None
    async with call.within() as tx:
        return [agent_rows.view(row) for row in await tx.fetch(_LIST, call.zone_id, given.state, own)]


async def _in_zone(call: Call, zone_id: str) -> Call:
    """The same call in another zone. RpcError: the key is not good for it, or it is not there, or ends."""
    if not call.caller.may_see(zone_id):
        raise RpcError(ZONE_FORBIDDEN)
    async with call.within() as tx:
        zone = await tx.fetchrow(_ZONE, zone_id) if is_zone_id(zone_id) else None
    if zone is None:
        raise RpcError(ZONE_NOT_FOUND)
    if zone["phase"] != "Active":
        raise RpcError(ZONE_TERMINATING)
    return replace(call, caller=replace(call.caller, zone_id=zone_id, zone_uid=zone["uid"]))


async def transition(call: Call, given: Transition) -> dict[str, Any]:
    """Move an agent to another state; each connection begins a session of its own generation."""
    _require_own(call, given.agent_id)
    ttl_s = call.platform.settings.platform_agent_ttl_s
    async with call.changing() as tx:
        moved = await agent_rows.move(
            tx, call.zone_id, given.agent_id, given.target_state, given.expected_generation, ttl_s
        )
        await _commit(call, tx, "agent.transition", given.agent_id)
    metrics.agent_transitions.labels(given.target_state).inc()
    emit(AGENT_TRANSITION, zone_id=call.zone_id, **moved)
    return dict(moved)


async def heartbeat(call: Call, given: Heartbeat) -> dict[str, bool]:
    """Say that an agent is there, and what it uses. It has to be connected."""
    _require_own(call, given.agent_id)
    usage = given.usage or Usage()
    said = (given.observed_generation, usage.tokens_used, usage.storage_used_mb, usage.context_usage_pct)
    ttl_s = call.platform.settings.platform_agent_ttl_s
    async with call.touching() as tx:
        while await tx.fetchval(_HEARTBEAT, call.zone_id, given.agent_id, given.generation, *said, ttl_s) is None:
            found = await agent_rows.session(tx, call.zone_id, given.agent_id, given.generation)
            if found["state"] != "CONNECTED":
                raise RpcError(AGENT_NOT_CONNECTED)
            if (given.observed_generation or 0) > found["spec_generation"]:
                raise RpcError(SPEC_GENERATION_UNKNOWN)
    return {"ok": True}


METHODS: Final = (
    Method("register_agent", "registerAgent", NewAgent, register, brick=BRICK),
    Method("update_agent", "updateAgent", AgentChanges, update, brick=BRICK),
    Method("get_agent", "getAgent", OneAgent, get, brick=BRICK),
    Method("delete_agent", "deleteAgent", OneAgent, delete, brick=BRICK),
    Method("list_agents", "listAgents", Listed, list_all, brick=BRICK),
    Method("agent_list_by_zone", "listAgentsByZone", ListedByZone, list_all, brick=BRICK),
    Method("agent_transition", "moveAgent", Transition, transition, brick=BRICK),
    Method("agent_heartbeat", "receiveAgentHeartbeat", Heartbeat, heartbeat, brick=BRICK),
)
