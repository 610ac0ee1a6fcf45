"""The tasks of a zone in figures."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel

from nexmdm.kernel.problems import VALIDATION_ERROR, answers
from nexmdm.platform.call import Call
from nexmdm.platform.scheduler import BRICK, IN_ZONE, OF_TASKS, PATH, InTheZone, described
from nexmdm.platform.state import platform
from nexmdm.platform.task_views import classify
from nexmdm.platform.types import PRIORITIES, TASK_STATUSES, PriorityClass

router = APIRouter(tags=[BRICK], dependencies=IN_ZONE)

_QUEUE: Final = """
    SELECT tier, request_state, count(*) AS cnt, sum(waited)::float8 AS sum, max(waited)::float8 AS max
    FROM (
        SELECT tier, request_state, extract(epoch FROM now() - due_at) AS waited FROM tasks
        WHERE zone_id = $1 AND status = 'queued' AND due_at <= now()
    ) AS waiting
    GROUP BY tier, request_state
"""
_BY_STATUS: Final = "SELECT status, count(*) AS cnt FROM tasks WHERE zone_id = $1 GROUP BY status"
_ATTEMPTS: Final = """
    SELECT count(*) AS attempts, count(*) FILTER (WHERE outcome = 'expired') AS expired_leases
    FROM task_attempts WHERE zone_id = $1
"""
_CLASSES: Final[tuple[PriorityClass, ...]] = ("interactive", "batch", "background")


class QueueOfClass(BaseModel):
    """Tasks of one class that are due and wait. Times are in seconds."""

    priority_class: PriorityClass
    cnt: int
    avg_wait: float
    max_wait: float


class TasksByStatus(BaseModel):
    """How many there are."""

    queued: int
    running: int
    completed: int
    failed: int
    cancelled: int


class Metrics(BaseModel):
    """Of all tasks of a zone, whoever owns them. `queue_by_class` has each class once."""

    queue_by_class: list[QueueOfClass]
    tasks_by_status: TasksByStatus
    oldest_wait_s: float
    attempts: int
    expired_leases: int


@router.get(f"{PATH}/metrics", responses=answers(*OF_TASKS, VALIDATION_ERROR), **described("getSchedulerMetrics"))
async def get_metrics(request: Request, caller: InTheZone) -> Metrics:
    """Count the tasks of a zone, and how long those that are due have waited."""
    async with Call(caller, platform(request), BRICK).within() as tx:
        groups = await tx.fetch(_QUEUE, caller.zone_id)
        statuses = {row["status"]: row["cnt"] for row in await tx.fetch(_BY_STATUS, caller.zone_id)}
        attempts = await tx.fetchrow(_ATTEMPTS, caller.zone_id)
    assert attempts is not None
    queue = [_of_class(name, groups) for name in _CLASSES]
    return Metrics(
        queue_by_class=queue,
        tasks_by_status=TasksByStatus(**{name: statuses.get(name, 0) for name in TASK_STATUSES}),
        oldest_wait_s=max(one.max_wait for one in queue),
        **dict(attempts),
    )


def _of_class(name: PriorityClass, groups: list[Any]) -> QueueOfClass:
    own = [row for row in groups if classify(PRIORITIES[row["tier"]], row["request_state"]) == name]
    count = sum(row["cnt"] for row in own)
    return QueueOfClass(
        priority_class=name,
        cnt=count,
        avg_wait=sum(row["sum"] for row in own) / count if count else 0,
        max_wait=max((row["max"] for row in own), default=0),
    )
