"""Tasks as their executors see them: claimed under leases, kept by heartbeats, completed, failed."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Depends, Request, Response

from nexmdm.http.admission import leave_admission
from nexmdm.http.json_body import JsonBody
from nexmdm.http.problems import OF_A_BODY
from nexmdm.http.types import IdInPath
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import OVERLOADED, Problem, answers, invalid
from nexmdm.platform import metrics, task_states
from nexmdm.platform.auth import AGENT, Caller
from nexmdm.platform.call import Call
from nexmdm.platform.events import TASKS_CLAIMED
from nexmdm.platform.problems import AGENT_FORBIDDEN, LEASE_LOST, STALE_GENERATION, TASK_NOT_FOUND
from nexmdm.platform.scheduler import (
    BRICK,
    IN_ZONE,
    OF_TASKS,
    PATH,
    InTheZone,
    by,
    changing,
    described,
    task_id_of,
)
from nexmdm.platform.state import platform
from nexmdm.platform.task_ends import tell_end
from nexmdm.platform.task_shapes import Claim, Completion, Failure, Held
from nexmdm.platform.task_states import Lease, Tx
from nexmdm.platform.task_views import Claimed, Ended, LeaseView, claimed, ended

router = APIRouter(tags=[BRICK], dependencies=IN_ZONE)

_OF_A_LEASE: Final = (*OF_TASKS, *OF_A_BODY, TASK_NOT_FOUND, LEASE_LOST, STALE_GENERATION)
_AGENT: Final = "SELECT uid, generation FROM agents WHERE zone_id = $1 AND agent_id = $2"
_claim: Final[JsonBody[Claim]] = JsonBody(Claim)
_held: Final[JsonBody[Held]] = JsonBody(Held)
_completion: Final[JsonBody[Completion]] = JsonBody(Completion)
_failure: Final[JsonBody[Failure]] = JsonBody(Failure)


def _only(caller: Caller) -> str | None:
    """The executor that the caller is; None: it may be any."""
    return caller.agent_id if caller.role == AGENT else None


async def _session(tx: Tx, caller: Caller, generation: int | None) -> UUID | None:
    """The registration of the agent that claims, None of another caller. Problem: it has another session."""
    agent = await tx.fetchrow(_AGENT, caller.zone_id, caller.agent_id)
    if agent is not None and generation is None:
        raise invalid("/body/generation", "missing", "A registered agent gives the generation of its session.")
    if generation != (None if agent is None else agent["generation"]):
        raise Problem(STALE_GENERATION)
    return None if agent is None else agent["uid"]


async def _take(request: Request, caller: Caller, wanted: Claim) -> list[asyncpg.Record]:
    async with changing(request, caller) as tx:
        session = await _session(tx, caller, wanted.generation), wanted.generation
        return await task_states.claim(tx, by(caller), wanted.executor, wanted.limit, wanted.lease_s, *session)


async def _wait(request: Request, caller: Caller, wanted: Claim) -> list[asyncpg.Record]:
    """Take tasks, when there are some. Whether the client is still there no connection tells."""
    until = asyncio.get_running_loop().time() + wanted.wait_s
    claims = platform(request).claims
    with claims.place(caller.zone_id, wanted.executor) as told:
        tasks = await _take(request, caller, wanted)
        leave_admission(request.scope)
        while not tasks and await claims.look_again(told, until):
            tasks = await _take(request, caller, wanted)
    return tasks


@router.post(
    f"{PATH}/claim",
    responses=answers(*OF_TASKS, *OF_A_BODY, AGENT_FORBIDDEN, STALE_GENERATION, OVERLOADED),
    response_model=Claimed,
    **described("claimTasks", _claim),
)
async def claim(request: Request, caller: InTheZone, wanted: Annotated[Claim, Depends(_claim)]) -> Response:
    """Lease tasks of an executor that are due, the first of the queue; wait for some where there are none."""
    if wanted.executor != (_only(caller) or wanted.executor):
        raise Problem(AGENT_FORBIDDEN)
    take = _wait if wanted.wait_s else _take
    tasks = await take(request, caller, wanted)
    if tasks:
        metrics.tasks.labels("task.claimed").inc(len(tasks))
        emit(TASKS_CLAIMED, zone_id=caller.zone_id, executor=wanted.executor, tasks=len(tasks))
    return Response(claimed(tasks), media_type="application/json")


def _lease(caller: Caller, task_id: str, held: Held) -> Lease:
    return Lease(task_id_of(task_id), held.lease_token, _only(caller))


@router.post(f"{PATH}/task/{{task_id}}/heartbeat", responses=answers(*_OF_A_LEASE), **described("heartbeatTask", _held))
async def heartbeat(
    request: Request, caller: InTheZone, task_id: IdInPath, held: Annotated[Held, Depends(_held)]
) -> LeaseView:
    """Keep a lease, and learn whether the task is to be cancelled: then the lease ends when it would have."""
    lease = _lease(caller, task_id, held)
    async with Call(caller, platform(request), BRICK).touching() as tx:
        row = await task_states.renew(tx, by(caller), lease)
    return LeaseView(lease_until=row["lease_until"], cancel_requested=row["cancel_requested"])


@router.post(
    f"{PATH}/task/{{task_id}}/complete", responses=answers(*_OF_A_LEASE), **described("completeTask", _completion)
)
async def complete(
    request: Request,
    caller: InTheZone,
    task_id: IdInPath,
    done: Annotated[Completion, Depends(_completion)],
) -> Ended:
    """End a task that was done."""
    lease = _lease(caller, task_id, done)
    async with changing(request, caller) as tx:
        row = await task_states.complete(tx, by(caller), lease, done.result)
    tell_end(row)
    return ended(row)


@router.post(f"{PATH}/task/{{task_id}}/fail", responses=answers(*_OF_A_LEASE), **described("failTask", _failure))
async def fail(
    request: Request,
    caller: InTheZone,
    task_id: IdInPath,
    failure: Annotated[Failure, Depends(_failure)],
) -> Ended:
    """End an attempt that has failed; the task is tried again where it may be, after a pause."""
    lease = _lease(caller, task_id, failure)
    aging_s = platform(request).settings.platform_task_aging_s
    async with changing(request, caller) as tx:
        row = await task_states.fail(
            tx,
            by(caller),
            lease,
            failure.error,
            retryable=failure.retryable,
            cancelled=failure.cancelled,
            aging_s=aging_s,
        )
    tell_end(row)
    return ended(row)
