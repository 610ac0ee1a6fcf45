"""The mounts of zones, what is still to be brought to their backends, and what became of it.

A path here is one below the mount point, without a slash at its start. The content of a change lies in `files`, at a
path that no caller can name (`paths.private`). Row-level security shows a transaction the rows of its own zone alone.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from nexmdm.kernel.columns import (
    bytewise,
    count,
    free_text,
    identity,
    made_uuid,
    nullable_text,
    nullable_timestamptz,
    one_of,
    refers_to,
    sha256_hex,
    timestamptz,
)
from nexmdm.platform.types import CHANGE_KINDS, CONFLICT_STATUSES, RUN_TRIGGERS, STORED_BACKENDS, STRATEGIES


def _flag(default: str) -> bool:
    column: Column[bool] = Column(Boolean, nullable=False, server_default=text(default))
    flag: bool = Field(default=default == "true", sa_column=column)
    return flag


def _size(*, nullable: bool = False) -> Any:
    column: Column[int] = Column(BigInteger, nullable=nullable)
    return Field(default=None, sa_column=column) if nullable else Field(sa_column=column)


def _of_a_mount(table: str, on_delete: str, column: str = "mount_id") -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["zone_id", column],
        ["mounts.zone_id", "mounts.mount_id"],
        name=f"fk_{table}_{column}",
        ondelete=on_delete,
    )


_IS_BELOW = "path <> '' AND octet_length(path) <= 1024"


class Mount(SQLModel, table=True):
    """A mount. Its backend never changes under its id: another one at its place has another id.

    owner: the name of the key that added it. config: of the backend, without what is secret. secret: that, encrypted.
    """

    __tablename__ = "mounts"
    __table_args__ = (
        PrimaryKeyConstraint("zone_id", "mount_id"),
        UniqueConstraint("zone_id", "mount_point", name="uq_mounts_mount_point"),
        CheckConstraint("mount_point ~ '^/.' AND octet_length(mount_point) <= 1024", name="mount_point"),
        one_of("backend_type", STORED_BACKENDS),
        CheckConstraint("active OR saved", name="is_something"),
    )
    zone_id: str = refers_to("zones.zone_id", on_delete="RESTRICT")
    mount_id: UUID = made_uuid()
    mount_point: str = bytewise()
    owner: str = free_text()
    backend_type: str = free_text()
    config: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    secret: str | None = nullable_text()
    readonly: bool = _flag("false")
    priority: int = count()
    description: str | None = nullable_text()
    active: bool = _flag("true")
    saved: bool = _flag("false")
    created_at: datetime = timestamptz(default="clock_timestamp()")


class MountChange(SQLModel, table=True):
    """What is still to be brought to the backend: the newest change of a path. No mount goes before its changes.

    version: another one with each change of the path (`SET version = DEFAULT`). sent: the digest of what a delivery was
    about to bring, `deleted` for nothing; none that ended well leaves it.
    """

    __tablename__ = "mount_changes"
    __table_args__ = (
        PrimaryKeyConstraint("zone_id", "mount_id", "path"),
        _of_a_mount("mount_changes", "RESTRICT"),
        CheckConstraint(_IS_BELOW, name="path"),
        one_of("kind", CHANGE_KINDS),
        CheckConstraint("attempts >= 0", name="attempts"),
        CheckConstraint("sent ~ '^([0-9a-f]{64}|deleted)$'", name="sent"),
        Index("ix_mount_changes_next_at", "next_at"),
    )
    zone_id: str = free_text()
    mount_id: UUID = Field(nullable=False)
    path: str = bytewise()
    kind: str = free_text()
    version: int = identity()
    changed_at: datetime = timestamptz(default="clock_timestamp()")
    attempts: int = count()
    next_at: datetime = timestamptz(default="clock_timestamp()")
    error: str | None = nullable_text()
    sent: str | None = nullable_text()


class MountBase(SQLModel, table=True):
    """What both sides of a path have last agreed on."""

    __tablename__ = "mount_bases"
    __table_args__ = (
        PrimaryKeyConstraint("zone_id", "mount_id", "path"),
        _of_a_mount("mount_bases", "CASCADE"),
        CheckConstraint(_IS_BELOW, name="path"),
        CheckConstraint("size >= 0", name="size"),
        sha256_hex("sha256"),
    )
    zone_id: str = free_text()
    mount_id: UUID = Field(nullable=False)
    path: str = bytewise()
    remote_etag: str = free_text()
    size: int = _size()
    sha256: str | None = nullable_text()
    mtime: datetime = timestamptz()


class MountConflict(SQLModel, table=True):
    """A path that both sides have changed. A side without an etag has no file. No mount goes before an open one.

    lease_until: of the request that resolves it. copy_path: where the other side was kept, a path of the zone.
    """

    __tablename__ = "mount_conflicts"
    __table_args__ = (
        PrimaryKeyConstraint("zone_id", "conflict_id"),
        ForeignKeyConstraint(["zone_id"], ["zones.zone_id"], name="fk_mount_conflicts_zone_id", ondelete="RESTRICT"),
        _of_a_mount("mount_conflicts", "RESTRICT", "open_mount_id"),
        CheckConstraint(_IS_BELOW, name="path"),
        one_of("strategy", STRATEGIES),
        one_of("status", CONFLICT_STATUSES),
        CheckConstraint(
            "(status = 'resolved') = (resolved_at IS NOT NULL) AND (status = 'resolved') = (resolution IS NOT NULL)",
            name="resolved_has_time",
        ),
        Index(
            "uq_mount_conflicts_open",
            "zone_id",
            "mount_id",
            "path",
            unique=True,
            postgresql_where=text("status = 'open'"),
        ),
    )
    zone_id: str = free_text()
    conflict_id: UUID = made_uuid()
    mount_id: UUID = Field(nullable=False)
    mount_point: str = bytewise()
    path: str = bytewise()
    base_etag: str | None = nullable_text()
    base_size: int | None = _size(nullable=True)
    base_mtime: datetime | None = nullable_timestamptz()
    ours_etag: str | None = nullable_text()
    ours_size: int | None = _size(nullable=True)
    ours_mtime: datetime | None = nullable_timestamptz()
    theirs_etag: str | None = nullable_text()
    theirs_size: int | None = _size(nullable=True)
    theirs_mtime: datetime | None = nullable_timestamptz()
    strategy: str = free_text("manual")
    status: str = free_text("open")
    resolution: str | None = nullable_text()
    copy_path: str | None = nullable_text()
    lease_until: datetime | None = nullable_timestamptz()
    created_at: datetime = timestamptz(default="clock_timestamp()")
    resolved_at: datetime | None = nullable_timestamptz()
    open_mount_id: UUID | None = Field(
        sa_column=Column(Uuid, Computed("CASE WHEN status = 'open' THEN mount_id ELSE NULL::uuid END", persisted=True))
    )


class MountRun(SQLModel, table=True):
    """A delivery to the backend of a mount; of a mount at most one runs, under a lease. It stays after its mount."""

    __tablename__ = "mount_runs"
    __table_args__ = (
        PrimaryKeyConstraint("zone_id", "run_id"),
        one_of("trigger", RUN_TRIGGERS),
        CheckConstraint("(finished_at IS NULL) = (lease_until IS NOT NULL)", name="running_has_lease"),
        CheckConstraint("pushed >= 0 AND failed >= 0 AND conflicts >= 0 AND remaining >= 0", name="counts"),
        Index("uq_mount_runs_open", "zone_id", "mount_id", unique=True, postgresql_where=text("finished_at IS NULL")),
        Index("ix_mount_runs_started_at", "zone_id", "started_at", "run_id"),
    )
    zone_id: str = refers_to("zones.zone_id", on_delete="RESTRICT")
    run_id: UUID = made_uuid()
    mount_id: UUID = Field(nullable=False)
    mount_point: str = bytewise()
    trigger: str = free_text()
    started_at: datetime = timestamptz(default="clock_timestamp()")
    finished_at: datetime | None = nullable_timestamptz()
    lease_until: datetime | None = nullable_timestamptz()
    pushed: int = count()
    failed: int = count()
    conflicts: int = count()
    remaining: int = count()
