"""What of runs and conflicts is shown."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

import asyncpg
from pydantic import BaseModel

from nexmdm.http.types import Shape
from nexmdm.platform.types import ConflictStatus, RunTrigger, Strategy


class PushMetrics(BaseModel):
    """Of the mount, after a push."""

    duration_ms: int
    conflicts_open: int
    conflicts_resolved: int


class Pushed(BaseModel):
    """What a push has brought. `conflicts` is `conflicts_detected` under the name that older clients know."""

    mount_point: str
    changes_pushed: int
    changes_failed: int
    conflicts_detected: int
    conflicts: int
    remaining: int
    metrics: PushMetrics


class RunView(BaseModel):
    """A run. What it has brought stands there when it is over; a killed one is over when the next begins."""

    run_id: UUID
    mount_id: UUID
    mount_point: str
    trigger: RunTrigger
    status: Literal["running", "finished"]
    started_at: datetime
    finished_at: datetime | None
    changes_pushed: int
    changes_failed: int
    conflicts_detected: int
    remaining: int


class Side(BaseModel):
    """A file as one side had it when the conflict was last looked at."""

    etag: str
    size: int
    mtime: datetime


class ConflictView(BaseModel):
    """A conflict. A side that is null has no file; `base` is what both knew last."""

    conflict_id: UUID
    path: str
    mount_point: str
    base: Side | None
    ours: Side | None
    theirs: Side | None
    strategy: Strategy
    status: ConflictStatus
    resolution: Strategy | None
    copy_path: str | None
    created_at: datetime
    resolved_at: datetime | None


class Resolution(Shape):
    """How a conflict is to end."""

    strategy: Strategy


def side(row: asyncpg.Record, name: str) -> Side | None:
    """Of a row of `mount_conflicts`."""
    etag = row[f"{name}_etag"]
    return None if etag is None else Side(etag=etag, size=row[f"{name}_size"], mtime=row[f"{name}_mtime"])


def conflict(row: asyncpg.Record) -> ConflictView:
    """A row of `mount_conflicts`."""
    sides = {name: side(row, name) for name in ("base", "ours", "theirs")}
    path = f"{row['mount_point']}/{row['path']}"
    return ConflictView.model_validate(dict(row) | sides | {"path": path})


def run(row: asyncpg.Record) -> RunView:
    """A row of `mount_runs`."""
    counts = {"changes_pushed": row["pushed"], "changes_failed": row["failed"], "conflicts_detected": row["conflicts"]}
    status = "running" if row["finished_at"] is None else "finished"
    return RunView.model_validate(dict(row) | counts | {"status": status})
