"""Agents that have fallen silent: connected, but without a heartbeat for three times its validity, they become idle."""

from __future__ import annotations

import asyncio
from typing import Final

from nexmdm.kernel.database import Database
from nexmdm.kernel.log import emit
from nexmdm.kernel.settings import Settings, narrow
from nexmdm.kernel.statements import Statements
from nexmdm.platform import agent_rows, metrics
from nexmdm.platform.background import keep_doing, over_all_zones
from nexmdm.platform.events import AGENT_SILENT
from nexmdm.platform.settings import PlatformSettings
from nexmdm.platform.types import AGENT_STATES
from nexmdm.platform.zone_row import Change, ZoneEndsError, commit_change

_BRICK: Final = "agents"
_BATCH: Final = 100
_TTLS: Final = 3

_SILENT: Final = f"state = 'CONNECTED' AND {agent_rows.HEARD_AT} + make_interval(secs => $1) < clock_timestamp()"
_DUE: Final = f"""
    SELECT zone_id, agent_id FROM agents JOIN zones AS z USING (zone_id)
    WHERE {_SILENT} AND z.phase = 'Active' ORDER BY {agent_rows.HEARD_AT} LIMIT $2
"""  # noqa: S608 - composed of constants
_HOLD: Final = f"""
    SELECT generation FROM agents WHERE {_SILENT} AND zone_id = $2 AND agent_id = $3 FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - composed of constants
_COUNTS: Final = "SELECT state, count(*) AS agents FROM agents GROUP BY state"


async def silence(statements: Statements, ttl_s: float) -> bool:
    """Make a batch of agents idle; whether there may be more."""
    async with over_all_zones(statements, _BRICK) as tx:
        due = await tx.fetch(_DUE, _TTLS * ttl_s, _BATCH)
    moved = 0
    for one in due:
        try:
            moved += await _move(statements, one["zone_id"], one["agent_id"], ttl_s)
        except ZoneEndsError:
            continue
    async with over_all_zones(statements, _BRICK) as tx:
        counted = {row["state"]: row["agents"] for row in await tx.fetch(_COUNTS)}
    for state in AGENT_STATES:
        metrics.agents.labels(state).set(counted.get(state, 0))
    return moved == _BATCH


async def _move(statements: Statements, zone_id: str, agent_id: str, ttl_s: float) -> bool:
    """Whether the agent was silent still, and nobody else at it."""
    async with over_all_zones(statements, _BRICK) as tx:
        generation = await tx.fetchval(_HOLD, _TTLS * ttl_s, zone_id, agent_id)
        if generation is None:
            return False
        await agent_rows.move(tx, zone_id, agent_id, "IDLE", generation, ttl_s)
        await commit_change(tx, zone_id, Change(type="agent.transition", agent_id=agent_id))
    metrics.agent_transitions.labels("IDLE").inc()
    metrics.agents_silent.inc()
    emit(AGENT_SILENT, "warning", zone_id=zone_id, agent_id=agent_id, generation=generation)
    return True


async def keep_silencing(db: Database, settings: Settings, stop: asyncio.Event) -> None:
    """Look for silent agents until `stop`."""
    own = narrow(settings, PlatformSettings)

    async def turn(statements: Statements) -> bool:
        return await silence(statements, own.platform_agent_ttl_s)

    await keep_doing("agents", db, turn, own.platform_sweep_every_s, stop, _BRICK)
