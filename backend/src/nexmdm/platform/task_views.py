"""What of a task is shown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson
from pydantic import BaseModel

from nexmdm.platform.types import PRIORITIES, AttemptOutcome, Priority, PriorityClass, RequestState, TaskStatus

_CLASSES: Final[dict[Priority, PriorityClass]] = {
    "critical": "interactive",
    "high": "interactive",
    "normal": "batch",
    "low": "background",
    "best_effort": "background",
}


def classify(priority: Priority, request_state: str) -> PriorityClass:
    """The class that a task competes in. One that only waits for its input does so in the batch class at least."""
    found = _CLASSES[priority]
    return "batch" if found == "background" and request_state == "io_wait" else found


class Classified(BaseModel):
    """The class of a priority."""

    priority_class: PriorityClass


class AttemptView(BaseModel):
    """An attempt; `outcome` null: it goes on."""

    number: int
    started_at: datetime
    ended_at: datetime | None
    outcome: AttemptOutcome | None
    error: str | None


class TaskView(BaseModel):
    """A task. `task_id` is its id, and `priority_tier` its priority, under the names that older clients know."""

    id: UUID
    task_id: UUID
    agent_id: str
    executor_id: str
    task_type: str
    payload: dict[str, Any]
    status: TaskStatus
    priority: Priority
    priority_tier: Priority
    priority_class: PriorityClass
    request_state: RequestState
    enqueued_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    deadline: datetime | None
    not_before: datetime | None
    attempts: list[AttemptView]
    max_attempts: int
    next_attempt_at: datetime | None
    result: dict[str, Any] | None
    error_message: str | None
    cancel_requested: bool


class ClaimedTask(BaseModel):
    """A task with its lease."""

    id: UUID
    attempt: int
    max_attempts: int
    payload: dict[str, Any]
    task_type: str
    priority_tier: Priority
    lease_token: UUID
    lease_until: datetime


class Claimed(BaseModel):
    """In the order of the queue."""

    tasks: list[ClaimedTask]


class Ended(BaseModel):
    """What became of a task; `next_attempt_at` where it is queued again."""

    id: UUID
    task_id: UUID
    status: TaskStatus
    next_attempt_at: datetime | None


class LeaseView(BaseModel):
    """The lease of a task."""

    lease_until: datetime
    cancel_requested: bool


class Cancelled(BaseModel):
    """`cancelled` says what holds after the call; `status` null: the caller has no such task."""

    cancelled: bool
    cancel_requested: bool
    task_id: str
    status: TaskStatus | None


_SHOWN: Final = (
    "task_type", "status", "request_state", "enqueued_at", "started_at", "completed_at", "deadline", "not_before",
    "max_attempts", "error_message", "cancel_requested",
)  # fmt: skip


def view(row: asyncpg.Record, attempts: Sequence[asyncpg.Record]) -> bytes:
    """A row of `tasks` with those of its attempts, as `TaskView` in JSON."""
    task_id, priority = str(row["task_id"]), PRIORITIES[row["tier"]]
    shown = {
        "id": task_id,
        "task_id": task_id,
        "agent_id": row["owner"],
        "executor_id": row["executor"],
        "payload": orjson.Fragment(row["payload"]),
        "priority": priority,
        "priority_tier": priority,
        "priority_class": classify(priority, row["request_state"]),
        "attempts": [dict(attempt) for attempt in attempts],
        "next_attempt_at": row["due_at"] if row["status"] == "queued" else None,
        "result": None if row["result"] is None else orjson.Fragment(row["result"]),
        **{name: row[name] for name in _SHOWN},
    }
    return orjson.dumps(shown, option=orjson.OPT_UTC_Z)


def ended(row: asyncpg.Record) -> Ended:
    """A row of `tasks` whose attempt is over."""
    due_at = row["due_at"] if row["status"] == "queued" else None
    return Ended(id=row["task_id"], task_id=row["task_id"], status=row["status"], next_attempt_at=due_at)


def claimed(rows: list[asyncpg.Record]) -> bytes:
    """Rows of `tasks` as `Claimed`, in JSON."""
    tasks = [
        {
            "id": str(row["task_id"]),
            "attempt": row["attempt"],
            "max_attempts": row["max_attempts"],
            "payload": orjson.Fragment(row["payload"]),
            "task_type": row["task_type"],
            "priority_tier": PRIORITIES[row["tier"]],
            "lease_token": str(row["lease_token"]),
            "lease_until": row["lease_until"],
        }
        for row in rows
    ]
    return orjson.dumps({"tasks": tasks}, option=orjson.OPT_UTC_Z)
