"""The spec of an agent: what it should be. Each change of it has a generation of its own."""

from __future__ import annotations

from typing import Annotated, Any, Final

import asyncpg
import orjson
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from nexmdm.http.conditional import require_match
from nexmdm.http.json_body import JsonBody
from nexmdm.http.pagination import refuse_repeated_parameters
from nexmdm.http.problems import OF_A_BODY, PRECONDITION_FAILED
from nexmdm.http.types import Maybe, Shape
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import Problem, answers
from nexmdm.platform import agent_rows
from nexmdm.platform.agent_shapes import Capabilities, Label, SafeCount
from nexmdm.platform.agents import BRICK, OF_AN_AGENT, PATH, AgentOfPath, Reader, changing, in_zone
from nexmdm.platform.auth import DESCRIBED, ZONE_HEADERS
from nexmdm.platform.call import Call
from nexmdm.platform.events import AGENT_SPEC
from nexmdm.platform.problems import AGENT_NOT_FOUND, AGENT_SPEC_NOT_FOUND
from nexmdm.platform.state import platform
from nexmdm.platform.types import QosClass
from nexmdm.platform.zone_row import Change, commit_change

router = APIRouter(tags=["agents"], dependencies=[DESCRIBED, Depends(in_zone), Depends(refuse_repeated_parameters)])

_COLUMNS: Final = "(agent_type, resource_requests, resource_limits, qos_class, zone_affinity)"
_VALUES: Final = "($3, $4::jsonb, $5::jsonb, $6, $7)"
_WRITE: Final = f"""
    UPDATE agents SET {_COLUMNS} = {_VALUES}, spec_generation = spec_generation + 1, updated_at = statement_timestamp()
    WHERE zone_id = $1 AND agent_id = $2 AND ($8 OR {_COLUMNS} IS DISTINCT FROM {_VALUES})
    RETURNING spec_generation
"""  # noqa: S608 - composed of the constants above


class Resources(Shape):
    """What is left out is not asked for."""

    token_budget: Maybe[SafeCount] = None
    token_request: Maybe[SafeCount] = None
    storage_limit_mb: Maybe[SafeCount] = None
    context_limit: Maybe[SafeCount] = None


class Spec(Shape):
    """A spec as a whole: what is left out has its default."""

    agent_type: Label
    capabilities: Maybe[Capabilities] = None
    resource_requests: Maybe[Resources] = None
    resource_limits: Maybe[Resources] = None
    qos_class: QosClass = "standard"
    zone_affinity: Maybe[Label] = None


class SpecView(BaseModel):
    """A spec. `capabilities` is a sorted set; `spec_generation` is another with each change."""

    agent_id: str
    agent_type: str
    capabilities: list[str]
    resource_requests: Resources
    resource_limits: Resources
    qos_class: QosClass
    zone_affinity: str | None
    spec_generation: int


_spec: Final[JsonBody[Spec]] = JsonBody(Spec)

_IF_MATCH: Final = {"name": "If-Match", "in": "header", "schema": {"type": "string"}}


def _view(row: asyncpg.Record, response: Response) -> SpecView:
    response.headers["ETag"] = _etag(row)
    resources = {name: orjson.loads(row[name]) for name in ("resource_requests", "resource_limits")}
    return SpecView.model_validate(dict(row) | resources)


def _etag(row: asyncpg.Record) -> str:
    return f'"{row["spec_generation"]}"'


def _sent(resources: Resources | None) -> str:
    return resources.model_dump_json(exclude_unset=True) if resources else "{}"


@router.get(
    f"{PATH}/{{agent_id}}/spec",
    response_model_exclude_unset=True,
    operation_id="getAgentSpec",
    responses=answers(*OF_AN_AGENT, AGENT_SPEC_NOT_FOUND),
    openapi_extra={"parameters": ZONE_HEADERS},
)
async def get_agent_spec(request: Request, response: Response, caller: Reader, agent_id: AgentOfPath) -> SpecView:
    """Look at an agent's spec."""
    async with Call(caller, platform(request), BRICK).within() as tx:
        row = await agent_rows.find(tx, caller.zone_id, agent_id)
    if row is None:
        raise Problem(AGENT_NOT_FOUND)
    if row["spec_generation"] == 0:
        raise Problem(AGENT_SPEC_NOT_FOUND)
    return _view(row, response)


@router.put(
    f"{PATH}/{{agent_id}}/spec",
    response_model_exclude_unset=True,
    operation_id="setAgentSpec",
    responses=answers(*OF_AN_AGENT, *OF_A_BODY, PRECONDITION_FAILED),
    openapi_extra=_spec.openapi | {"parameters": [*ZONE_HEADERS, _IF_MATCH]},
)
async def set_agent_spec(
    request: Request,
    response: Response,
    caller: Reader,
    agent_id: AgentOfPath,
    given: Annotated[Spec, Depends(_spec)],
) -> SpecView:
    """Give an agent a spec, under a new generation unless it is the one that it has."""
    zone_id = caller.zone_id
    async with changing(request, caller) as tx:
        if not await agent_rows.lock(tx, zone_id, agent_id):
            raise Problem(AGENT_NOT_FOUND)
        row = await _row(tx, zone_id, agent_id)
        require_match(request.headers, _etag(row) if row["spec_generation"] else None)
        others = await agent_rows.set_capabilities(tx, zone_id, agent_id, given.capabilities or [])
        written = (given.agent_type, _sent(given.resource_requests), _sent(given.resource_limits))
        which = (given.qos_class, given.zone_affinity)
        generation = await tx.fetchval(_WRITE, zone_id, agent_id, *written, *which, others)
        row = await _row(tx, zone_id, agent_id)
        if generation is not None:
            change = Change(type="agent.spec", zone_uid=caller.zone_uid, agent_id=agent_id)
            await commit_change(tx, zone_id, change)
    if generation is not None:
        emit(AGENT_SPEC, zone_id=zone_id, agent_id=agent_id, spec_generation=generation)
    return _view(row, response)


async def _row(tx: asyncpg.Connection[Any], zone_id: str, agent_id: str) -> asyncpg.Record:
    """The row of an agent that is locked."""
    row = await agent_rows.find(tx, zone_id, agent_id)
    assert row is not None
    return row
