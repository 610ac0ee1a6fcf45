"""The warmup of an agent: steps that look at what it needs, and its connection where no required one fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Annotated, Final
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from nexmdm.http.json_body import JsonBody, read_limited
from nexmdm.http.pagination import refuse_repeated_parameters
from nexmdm.http.problems import OF_A_BODY
from nexmdm.http.types import Maybe, Shape
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import Problem, answers, invalid
from nexmdm.platform import agent_rows, metrics
from nexmdm.platform.agent_steps import BY_DEFAULT, STEPS, Step, StepFailedError, take
from nexmdm.platform.agents import BRICK, OF_AN_AGENT, PATH, AgentOfPath, Reader, changing, in_zone
from nexmdm.platform.auth import DESCRIBED, ZONE_HEADERS
from nexmdm.platform.call import Call
from nexmdm.platform.events import AGENT_TRANSITION, AGENT_WARMUP
from nexmdm.platform.problems import AGENT_NOT_FOUND, WARMUP_RUNNING
from nexmdm.platform.rpc_errors import RpcError
from nexmdm.platform.state import platform
from nexmdm.platform.zone_row import Change, commit_change

router = APIRouter(tags=["agents"], dependencies=[DESCRIBED, Depends(in_zone), Depends(refuse_repeated_parameters)])

_GRACE_S: Final = 60  # for what is done between the steps, before another warmup takes the place of one that died

_BEGIN: Final = """
    UPDATE agents SET warmup = $3, warmup_until = clock_timestamp() + make_interval(secs => $4)
    WHERE zone_id = $1 AND agent_id = $2 AND state <> 'CONNECTED' AND coalesce(warmup_until <= clock_timestamp(), true)
    RETURNING agent_id
"""
_STATE: Final = "SELECT state FROM agents WHERE zone_id = $1 AND agent_id = $2"
_END: Final = """
    UPDATE agents SET warmup = NULL, warmup_until = NULL WHERE zone_id = $1 AND agent_id = $2 AND warmup = $3
    RETURNING agent_id
"""
_OBSERVE: Final = "UPDATE agents SET observed_generation = spec_generation WHERE zone_id = $1 AND agent_id = $2"


class Warmup(Shape):
    """Without steps: all that are known, the last of them optional."""

    steps: Maybe[Annotated[list[Step], Field(max_length=8)]] = None


class WarmupResult(BaseModel):
    """What became of a warmup. `failed_step`: the required step that failed, with what was wrong as `error`."""

    success: bool = True
    agent_id: str
    steps_completed: list[str] = []
    steps_skipped: list[str] = []
    failed_step: str | None = None
    error: str | None = None
    duration_ms: float = 0


@dataclass
class _Run:
    """One warmup."""

    call: Call
    agent_id: str
    holder: UUID = field(default_factory=uuid4)

    async def begin(self, lives_s: float) -> bool:
        """Whether there is something to do. Problem: there is no such agent; another warmup has it."""
        async with self.call.touching() as tx:
            if await tx.fetchval(_BEGIN, self.call.zone_id, self.agent_id, self.holder, lives_s) is not None:
                return True
            state = await tx.fetchval(_STATE, self.call.zone_id, self.agent_id)
        if state is None:
            raise Problem(AGENT_NOT_FOUND)
        if state != "CONNECTED":
            raise Problem(WARMUP_RUNNING)
        return False

    async def connect(self, request: Request) -> None:
        """Move the agent, unless somebody has connected it since. Problem: it is gone, or another warmup has it."""
        zone_id, caller = self.call.zone_id, self.call.caller
        ttl_s = self.call.platform.settings.platform_agent_ttl_s
        async with changing(request, caller) as tx:
            if await tx.fetchval(_END, zone_id, self.agent_id, self.holder) is None:
                raise Problem(WARMUP_RUNNING if await tx.fetchval(_STATE, zone_id, self.agent_id) else AGENT_NOT_FOUND)
            await tx.execute(_OBSERVE, zone_id, self.agent_id)
            try:
                moved = await agent_rows.move(tx, zone_id, self.agent_id, "CONNECTED", None, ttl_s)
            except RpcError:
                return
            change = Change(type="agent.transition", zone_uid=caller.zone_uid, agent_id=self.agent_id)
            await commit_change(tx, zone_id, change)
        metrics.agent_transitions.labels("CONNECTED").inc()
        emit(AGENT_TRANSITION, zone_id=zone_id, **moved)

    async def end(self) -> None:
        """Let go of an agent that was not connected."""
        async with self.call.platform.within(self.call.zone_id) as tx:
            await tx.execute(_END, self.call.zone_id, self.agent_id, self.holder)


_warmup: Final[JsonBody[Warmup]] = JsonBody(Warmup)


async def _steps(request: Request) -> list[Step]:
    """Those of the body, which may be missing. Problem: a required one is not known."""
    if not await read_limited(request) and "content-type" not in request.headers:
        return BY_DEFAULT
    given = (await _warmup(request)).steps
    for place, step in enumerate(given or []):
        if step.required and step.name not in STEPS:
            raise invalid(f"/body/steps/{place}/name", "step", "Not a step that is known.")
    return BY_DEFAULT if given is None else given


@router.post(
    f"{PATH}/{{agent_id}}/warmup",
    operation_id="warmUpAgent",
    responses=answers(*OF_AN_AGENT, *OF_A_BODY, WARMUP_RUNNING),
    openapi_extra={
        "parameters": ZONE_HEADERS,
        "requestBody": _warmup.openapi["requestBody"] | {"required": False},
    },
)
async def warm_up_agent(
    request: Request, caller: Reader, agent_id: AgentOfPath, steps: Annotated[list[Step], Depends(_steps)]
) -> WarmupResult:
    """Take steps and connect the agent. A required step that fails leaves the agent as it was."""
    started = perf_counter()
    run, result = _Run(Call(caller, platform(request), BRICK), agent_id), WarmupResult(agent_id=agent_id)
    if await run.begin(_GRACE_S + sum(step.timeout_seconds for step in steps)):
        try:
            await _take(steps, run, result)
            if result.success:
                await run.connect(request)
        finally:
            await run.end()
    result.duration_ms = round((perf_counter() - started) * 1000, 3)
    outcome = "connected" if result.success else "failed"
    metrics.agent_warmups.labels(outcome).inc()
    told = result.model_dump(include={"agent_id", "failed_step", "duration_ms"})
    emit(AGENT_WARMUP, zone_id=caller.zone_id, outcome=outcome, **told)
    return result


async def _take(steps: Sequence[Step], run: _Run, result: WarmupResult) -> None:
    """All steps, up to the first required one that fails."""
    for step in steps:
        try:
            is_done = await take(step, run.call, run.agent_id)
        except StepFailedError as error:
            result.success, result.failed_step, result.error = False, step.name, str(error)
            return
        (result.steps_completed if is_done else result.steps_skipped).append(step.name)
