"""Tasks as their owner sees them: submitted, classified, looked at, cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final
from uuid import UUID

import asyncpg
import uuid_utils.compat as uuid_utils
from fastapi import APIRouter, Depends, Path, Request, Response

from nexmdm.http.json_body import JsonBody
from nexmdm.http.pagination import refuse_repeated_parameters
from nexmdm.http.problems import OF_A_BODY
from nexmdm.http.types import IdInPath, as_id
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import VALIDATION_ERROR, Problem, answers
from nexmdm.platform import metrics, task_states
from nexmdm.platform.auth import DESCRIBED, OF_A_KEY, ZONE_HEADERS, Caller, InZone
from nexmdm.platform.call import Call
from nexmdm.platform.claims import notify
from nexmdm.platform.events import TASK_CANCEL_REQUESTED, TASK_CANCELLED, TASK_SUBMITTED
from nexmdm.platform.problems import (
    BRICK_UNMOUNTED,
    IDEMPOTENCY_CONFLICT,
    QUOTA_EXCEEDED,
    TASK_NOT_FOUND,
    ZONE_TERMINATING,
)
from nexmdm.platform.state import platform
from nexmdm.platform.task_shapes import NewTask, ToClassify
from nexmdm.platform.task_states import By, Tx
from nexmdm.platform.task_views import Cancelled, Classified, TaskView, classify, view
from nexmdm.platform.zone_row import QuotaExceededError, ZoneEndsError

BRICK: Final = "scheduler"
PATH: Final = "/api/v2/scheduler"
OF_TASKS: Final = (*OF_A_KEY, ZONE_TERMINATING, BRICK_UNMOUNTED)
in_zone: Final = InZone(brick=BRICK)
IN_ZONE: Final = [DESCRIBED, Depends(in_zone), Depends(refuse_repeated_parameters)]
router = APIRouter(tags=[BRICK], dependencies=IN_ZONE)
InTheZone = Annotated[Caller, Depends(in_zone)]

_TASK: Final = "SELECT * FROM tasks WHERE zone_id = $1 AND task_id = $2 AND owner = coalesce($3, owner)"
_ATTEMPTS: Final = """
    SELECT number, started_at, ended_at, outcome, error FROM task_attempts WHERE zone_id = $1 AND task_id = $2
    ORDER BY number
"""

_new_task: Final[JsonBody[NewTask]] = JsonBody(NewTask)
_to_classify: Final[JsonBody[ToClassify]] = JsonBody(ToClassify)


def described(operation_id: str, body: JsonBody[Any] | None = None) -> dict[str, Any]:
    """What every operation of a zone's tasks has."""
    given = {} if body is None else body.openapi
    return {"operation_id": operation_id, "openapi_extra": {"parameters": ZONE_HEADERS, **given}}


def task_id_of(text: str) -> UUID:
    """The id of a path. Problem: it can be no task's."""
    task_id = as_id(text)
    if task_id is None:
        raise Problem(TASK_NOT_FOUND)
    return task_id


def by(caller: Caller) -> By:
    """The caller, as the one who changes tasks."""
    return By(caller.zone_id, caller.zone_uid, caller.agent_id)


@asynccontextmanager
async def changing(request: Request, caller: Caller) -> AsyncIterator[Tx]:
    """A transaction that ends with a change of tasks."""
    try:
        async with Call(caller, platform(request), BRICK).changing() as tx:
            yield tx
    except ZoneEndsError:
        raise Problem(ZONE_TERMINATING) from None
    except QuotaExceededError as refused:
        raise Problem(QUOTA_EXCEEDED, extra={"limit": refused.limit}) from None


def _owner(caller: Caller) -> str:
    return caller.agent_id or f"key:{caller.name}"


def _visible(caller: Caller) -> str | None:
    """Whose tasks the caller sees; None: an admin who names no agent sees all."""
    return None if caller.is_admin and caller.agent_id is None else _owner(caller)


async def _shown(tx: Tx, row: asyncpg.Record) -> bytes:
    return view(row, await tx.fetch(_ATTEMPTS, row["zone_id"], row["task_id"]))


@router.post(
    f"{PATH}/submit",
    status_code=201,
    responses=answers(*OF_TASKS, *OF_A_BODY, IDEMPOTENCY_CONFLICT, QUOTA_EXCEEDED) | {200: {"model": TaskView}},
    response_model=TaskView,
    **described("submitTask", _new_task),
)
async def submit(request: Request, caller: InTheZone, new: Annotated[NewTask, Depends(_new_task)]) -> Response:
    """Queue a task; one whose idempotency key was used before is the first one."""
    own, task_id, values = platform(request), uuid_utils.uuid7(), new.values()
    async with changing(request, caller) as tx:
        aging_s = own.settings.platform_task_aging_s
        row = await task_states.submit(tx, by(caller), task_id, _owner(caller), *values, aging_s=aging_s)
        is_new = row["task_id"] == task_id
        if not is_new and row["body_hash"] != new.digest:
            raise Problem(IDEMPOTENCY_CONFLICT)
        shown = view(row, []) if is_new else await _shown(tx, row)
    if is_new:
        metrics.tasks.labels("task.submitted").inc()
        emit(TASK_SUBMITTED, zone_id=caller.zone_id, task_id=str(task_id), executor=new.executor)
        if row["due_at"] == row["enqueued_at"]:
            await notify(own.statements, caller.zone_id, new.executor)
    return Response(shown, 201 if is_new else 200, media_type="application/json")


@router.post(f"{PATH}/classify", responses=answers(*OF_TASKS, *OF_A_BODY), **described("classifyTask", _to_classify))
async def classify_task(_caller: InTheZone, given: Annotated[ToClassify, Depends(_to_classify)]) -> Classified:
    """The class that a task of this priority competes in; nothing is queued."""
    return Classified(priority_class=classify(given.priority, given.request_state))


@router.get(
    f"{PATH}/task/{{task_id}}",
    responses=answers(*OF_TASKS, TASK_NOT_FOUND, VALIDATION_ERROR),
    response_model=TaskView,
    **described("getTask"),
)
async def get_task(request: Request, caller: InTheZone, task_id: IdInPath) -> Response:
    """Look at a task with its attempts."""
    wanted = task_id_of(task_id)
    async with Call(caller, platform(request), BRICK).within() as tx:
        row = await tx.fetchrow(_TASK, caller.zone_id, wanted, _visible(caller))
        if row is None:
            raise Problem(TASK_NOT_FOUND)
        return Response(await _shown(tx, row), media_type="application/json")


@router.post(
    f"{PATH}/task/{{task_id}}/cancel", responses=answers(*OF_TASKS, VALIDATION_ERROR), **described("cancelTask")
)
async def cancel_task(
    request: Request, caller: InTheZone, task_id: Annotated[str, Path(min_length=1, max_length=128)]
) -> Cancelled:
    """End a task that is queued; ask the executor of one that runs to stop. May be repeated."""
    wanted = as_id(task_id)
    row = changed = None
    if wanted is not None:
        async with changing(request, caller) as tx:
            changed = await task_states.cancel(tx, by(caller), wanted, _visible(caller))
            row = changed or await tx.fetchrow(_TASK, caller.zone_id, wanted, _visible(caller))
    if changed is not None:
        over = changed["status"] == "cancelled"
        if over:
            metrics.tasks.labels("task.cancelled").inc()
        event = TASK_CANCELLED if over else TASK_CANCEL_REQUESTED
        emit(event, zone_id=caller.zone_id, task_id=task_id)
    status = None if row is None else row["status"]
    return Cancelled(
        cancelled=status == "cancelled",
        cancel_requested=row is not None and row["cancel_requested"],
        task_id=task_id,
        status=status,
    )
