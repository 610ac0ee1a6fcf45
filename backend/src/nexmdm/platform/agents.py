"""Agents over REST: which of them a path names, and which can do what."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel

from nexmdm.http.pagination import Page, Paging, refuse_repeated_parameters
from nexmdm.kernel.problems import VALIDATION_ERROR, Problem, answers
from nexmdm.platform import agent_rows
from nexmdm.platform.agent_shapes import Label
from nexmdm.platform.auth import AGENT, DESCRIBED, OF_A_KEY, ZONE_HEADERS, Caller, InZone
from nexmdm.platform.call import Call
from nexmdm.platform.problems import AGENT_FORBIDDEN, AGENT_NOT_FOUND, BRICK_UNMOUNTED, ZONE_TERMINATING
from nexmdm.platform.state import platform
from nexmdm.platform.types import AGENT_ID, AgentState, QosClass
from nexmdm.platform.zone_row import ZoneEndsError

BRICK: Final = "agents"
PATH: Final = "/api/v2/agents"
in_zone: Final = InZone(brick=BRICK)
router = APIRouter(tags=["agents"], dependencies=[DESCRIBED, Depends(in_zone), Depends(refuse_repeated_parameters)])

Reader = Annotated[Caller, Depends(in_zone)]
OF_AGENTS: Final = (*OF_A_KEY, ZONE_TERMINATING, BRICK_UNMOUNTED, VALIDATION_ERROR)
OF_AN_AGENT: Final = (*OF_AGENTS, AGENT_NOT_FOUND)


class AgentView(BaseModel):
    """An agent. Its type, class and generation of the spec are those of its spec: null and 0 without one."""

    agent_id: str
    user_id: str
    name: str
    description: str | None
    capabilities: list[str]
    metadata: dict[str, str | bool | int | float | None]
    zone_id: str
    state: AgentState
    generation: int
    has_api_key: bool
    created_at: datetime
    updated_at: datetime
    last_heartbeat: datetime | None
    agent_type: str | None
    qos_class: QosClass | None
    spec_generation: int


async def _of_path(
    agent_id: Annotated[str, Path(json_schema_extra={"pattern": f"^{AGENT_ID}$"})], caller: Reader
) -> str:
    """The id of the path. Problem: the caller is another agent; no agent can have it."""
    if caller.role == AGENT and caller.agent_id != agent_id:
        raise Problem(AGENT_FORBIDDEN)
    if re.fullmatch(AGENT_ID, agent_id) is None:
        raise Problem(AGENT_NOT_FOUND)
    return agent_id


AgentOfPath = Annotated[str, Depends(_of_path)]


@asynccontextmanager
async def changing(request: Request, caller: Caller) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A transaction that ends with a change of the zone's row. Problem: the caller is no longer good."""
    try:
        async with Call(caller, platform(request), BRICK).changing() as tx:
            yield tx
    except ZoneEndsError:
        raise Problem(ZONE_TERMINATING) from None


@dataclass(frozen=True, slots=True)
class Filters:
    """What is asked for. All have to hold: of `capability` all, of `any_capability` one."""

    capability: Annotated[list[Label], Query(default_factory=list, max_length=16)]
    any_capability: Annotated[list[Label], Query(default_factory=list, max_length=16)]
    state: Annotated[AgentState | None, Query()] = None
    qos_class: Annotated[QosClass | None, Query()] = None

    def conditions(self, own: str | None) -> tuple[str, list[Any]]:
        """As SQL with parameters from $2 on. `own`: the only agent that the caller may see."""
        holders = "SELECT agent_id FROM agent_capabilities WHERE zone_id = $1 AND capability = ANY (${0}::text[])"
        every = "GROUP BY agent_id HAVING count(*) = cardinality(${0}::text[])"
        given = {
            f"a.agent_id IN ({holders} {every})": sorted(set(self.capability)) or None,
            f"a.agent_id IN ({holders})": self.any_capability or None,
            "state = ${0}": self.state,
            "qos_class = ${0}": self.qos_class,
            "a.agent_id = ${0}": own,
        }
        asked = {condition: value for condition, value in given.items() if value is not None}
        parts = [f" AND {condition.format(2 + place)}" for place, condition in enumerate(asked)]
        return "".join(parts), list(asked.values())


@router.get(
    PATH,
    operation_id="queryAgents",
    responses=answers(*OF_AGENTS),
    openapi_extra={"parameters": ZONE_HEADERS},
)
async def query_agents(
    request: Request, caller: Reader, paging: Annotated[Paging, Depends()], filters: Annotated[Filters, Depends()]
) -> Page[AgentView]:
    """The agents of a zone, newest first; an agent sees itself alone."""
    conditions, values = filters.conditions(caller.agent_id if caller.role == AGENT else None)
    if (after := paging.after(UUID)) is not None:
        conditions += f" AND (created_at, uid) < (${len(values) + 2}, ${len(values) + 3})"
        values += after
    statement = f"{agent_rows.SHOWN}{conditions} ORDER BY created_at DESC, uid DESC LIMIT {paging.limit + 1}"
    async with Call(caller, platform(request), BRICK).within() as tx:
        rows = await tx.fetch(statement, caller.zone_id, *values)
    shown, cursor = paging.cut(rows, itemgetter("created_at", "uid"))
    return Page(items=[AgentView.model_validate(agent_rows.view(row)) for row in shown], next_cursor=cursor)
