"""The status of an agent, judged when it is asked for, by the database's time: no loop has to notice its silence."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from nexmdm.http.pagination import refuse_repeated_parameters
from nexmdm.kernel.problems import Problem, answers
from nexmdm.platform import agent_rows
from nexmdm.platform.agents import BRICK, OF_AN_AGENT, PATH, AgentOfPath, Reader, in_zone
from nexmdm.platform.auth import DESCRIBED, ZONE_HEADERS
from nexmdm.platform.call import Call
from nexmdm.platform.problems import AGENT_NOT_FOUND
from nexmdm.platform.state import platform

router = APIRouter(tags=["agents"], dependencies=[DESCRIBED, Depends(in_zone), Depends(refuse_repeated_parameters)])

_PHASES: Final = {"UNKNOWN": "warming", "CONNECTED": "active", "IDLE": "idle", "SUSPENDED": "suspended"}
_NOT_READY: Final = {
    "UNKNOWN": ("NeverConnected", "The agent has not been connected yet."),
    "CONNECTED": ("HeartbeatTimeout", "The agent's heartbeat is overdue."),
    "IDLE": ("Idle", "The agent is idle."),
    "SUSPENDED": ("Suspended", "The agent is suspended."),
}
_STATUS: Final = f"""
    SELECT state, observed_generation, tokens_used, storage_used_mb, context_usage_pct, last_heartbeat,
        greatest(updated_at, last_heartbeat) AS last_activity,
        (SELECT count(*) FROM tasks AS t
            WHERE t.zone_id = $1 AND t.executor = $2 AND t.status = 'queued') AS inbox_depth,
        now() <= due_at AS is_ready, CASE WHEN due_at < now() THEN due_at ELSE ready_since END AS last_transition
    FROM agents, LATERAL (
        SELECT CASE state WHEN 'CONNECTED' THEN {agent_rows.HEARD_AT} + make_interval(secs => $3) END AS due_at) AS one
    WHERE zone_id = $1 AND agent_id = $2
"""  # noqa: S608 - composed of a constant


class Condition(BaseModel):
    """What is true of an agent since when. `observed_generation`: of the spec that the agent has seen."""

    type: Literal["Ready"] = "Ready"
    status: Literal["True", "False"]
    reason: str
    message: str
    last_transition: datetime
    observed_generation: int


class ResourceUsage(BaseModel):
    """As the agent's heartbeats say."""

    tokens_used: int
    storage_used_mb: int
    context_usage_pct: float


class AgentStatus(BaseModel):
    """The status of an agent. `inbox_depth`: queued tasks that it is to do."""

    agent_id: str
    phase: Literal["warming", "active", "idle", "suspended"]
    observed_generation: int
    conditions: list[Condition]
    resource_usage: ResourceUsage
    last_heartbeat: datetime | None
    last_activity: datetime
    inbox_depth: int
    context_usage_pct: float


@router.get(
    f"{PATH}/{{agent_id}}/status",
    operation_id="getAgentStatus",
    responses=answers(*OF_AN_AGENT),
    openapi_extra={"parameters": ZONE_HEADERS},
)
async def get_agent_status(request: Request, caller: Reader, agent_id: AgentOfPath) -> AgentStatus:
    """How an agent is."""
    running = platform(request)
    async with Call(caller, running, BRICK).within() as tx:
        row = await tx.fetchrow(_STATUS, caller.zone_id, agent_id, running.settings.platform_agent_ttl_s)
    if row is None:
        raise Problem(AGENT_NOT_FOUND)
    reason, message = ("Connected", "The agent is connected.") if row["is_ready"] else _NOT_READY[row["state"]]
    condition = dict(row) | {"status": str(bool(row["is_ready"])), "reason": reason, "message": message}
    return AgentStatus.model_validate(
        dict(row)
        | {"agent_id": agent_id, "phase": _PHASES[row["state"]], "conditions": [condition], "resource_usage": dict(row)}
    )
