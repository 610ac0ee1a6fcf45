"""The vocabulary of the platform: what its rows and answers may hold."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, get_args

from pydantic import StringConstraints

ZONE_ID: Final = "[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"
ROOT: Final = "root"  # the zone of an admin who names none; it stays
AGENT_ID: Final = r"[A-Za-z0-9._:-]{1,128}"
INLINE_BYTES: Final = 64 * 1024  # a larger content lies in the object store
PART_BYTES: Final = 8 * 2**20
MOST_AGING_S: Final = 3600  # by which a tier of tasks comes after the next

Phase = Literal["Active", "Terminating"]
EventType = Literal[
    "write",
    "delete",
    "rename",
    "mkdir",
    "rmdir",
    "zone.created",
    "zone.updated",
    "zone.terminating",
    "zone.deleted",
    "upload.created",
    "upload.terminated",
    "agent.registered",
    "agent.updated",
    "agent.deleted",
    "agent.transition",
    "agent.spec",
    "task.submitted",
    "task.claimed",
    "task.completed",
    "task.failed",
    "task.retried",
    "task.cancelled",
    "brick.mounted",
    "brick.unmounted",
    "mount.added",
    "mount.removed",
    "mount.saved",
    "sync.pushed",
    "sync.conflict",
    "sync.resolved",
]
Brick = Literal["sync", "uploads", "mounts", "scheduler", "agents", "events", "files"]  # those that need others first
BrickState = Literal["active", "failed", "unmounted"]
AgentState = Literal["UNKNOWN", "CONNECTED", "IDLE", "SUSPENDED"]
QosClass = Literal["premium", "standard", "spot"]
Priority = Literal["critical", "high", "normal", "low", "best_effort"]  # a tier is its place in this order
PriorityClass = Literal["interactive", "batch", "background"]
RequestState = Literal["pending", "queued", "compute", "running", "io_wait", "completed", "failed", "cancelled"]
TaskStatus = Literal["queued", "running", "completed", "failed", "cancelled"]
AttemptOutcome = Literal["completed", "failed", "expired", "cancelled"]
Backend = Literal["local", "s3", "native"]  # of mounts; native: the zone's own files
ChangeKind = Literal["write", "delete"]
ConflictStatus = Literal["open", "resolved"]
Strategy = Literal["manual", "keep_local", "keep_remote", "keep_newer", "keep_larger", "keep_both", "abort"]
RunTrigger = Literal["push", "loop"]
ZoneId = Annotated[str, StringConstraints(pattern=f"^{ZONE_ID}$")]


def is_zone_id(text: str) -> bool:
    """Whether a zone could have this id."""
    return re.fullmatch(ZONE_ID, text) is not None


PHASES: Final[tuple[str, ...]] = get_args(Phase)
BRICKS: Final[tuple[Brick, ...]] = get_args(Brick)
BRICK_STATES: Final[tuple[BrickState, ...]] = get_args(BrickState)
AGENT_STATES: Final[tuple[str, ...]] = get_args(AgentState)
QOS_CLASSES: Final[tuple[str, ...]] = get_args(QosClass)
EVENT_TYPES: Final[tuple[str, ...]] = get_args(EventType)
PRIORITIES: Final[tuple[Priority, ...]] = get_args(Priority)
REQUEST_STATES: Final[tuple[str, ...]] = get_args(RequestState)
TASK_STATUSES: Final[tuple[str, ...]] = get_args(TaskStatus)
ATTEMPT_OUTCOMES: Final[tuple[str, ...]] = get_args(AttemptOutcome)
STORED_BACKENDS: Final = ("local", "s3")  # of mounts that have a row
CHANGE_KINDS: Final[tuple[str, ...]] = get_args(ChangeKind)
CONFLICT_STATUSES: Final[tuple[str, ...]] = get_args(ConflictStatus)
STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)
RUN_TRIGGERS: Final[tuple[str, ...]] = get_args(RunTrigger)
LIMITS: Final = ("max_storage_bytes", "max_files", "max_agents", "max_tasks_queued", "max_uploads_open")
USAGE: Final = dict(zip(LIMITS, ("used_bytes", "files", "agents", "tasks_queued", "uploads_open"), strict=True))
