"""Sandboxes, the ledger of their allocations, and what the jobs share.

The transitions stand in ARCHITECTURE.md; here stands what can never be true.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Column, Double, Index, PrimaryKeyConstraint, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from nexmdm.kernel.columns import (
    count,
    free_text,
    identity,
    nullable_text,
    nullable_timestamptz,
    one_of,
    refers_to,
    timestamptz,
)
from nexmdm.sandboxes.types import END_REASONS, SANDBOX_ID, STATUSES, SYNC_OUTCOMES


class Sandbox(SQLModel, table=True):
    """A sandbox of the provider. A deleted one stays: nothing that was given out is ever given out again."""

    __tablename__ = "sandboxes"
    __table_args__ = (
        CheckConstraint(f"sandbox_id ~ '^{SANDBOX_ID}$'", name="sandbox_id"),
        UniqueConstraint("external_id", name="uq_sandboxes_external_id"),
        one_of("status", STATUSES),
        CheckConstraint("first_allocated_at IS NULL OR status NOT IN ('available', 'stale')", name="given_once"),
        CheckConstraint("status <> 'allocated' OR first_allocated_at IS NOT NULL", name="allocated_has_time"),
        CheckConstraint("status <> 'available' OR made_available_at IS NOT NULL", name="available_has_time"),
        CheckConstraint("(status = 'deleting') = (lease_id IS NOT NULL)", name="leased_while_deleting"),
        CheckConstraint("(lease_id IS NULL) = (lease_until IS NULL)", name="lease"),
        CheckConstraint("(status = 'pending_deletion') = (next_attempt_at IS NOT NULL)", name="pending_has_attempt"),
        CheckConstraint("(status = 'deleted') = (deleted_at IS NOT NULL)", name="deleted_has_time"),
        CheckConstraint("delete_attempts >= 0", name="delete_attempts"),
        Index("ix_sandboxes_created_at", "created_at", "sandbox_id"),
        Index("ix_sandboxes_available", "pick_key", postgresql_where=text("status = 'available'")),
        Index("ix_sandboxes_pending", "next_attempt_at", postgresql_where=text("status = 'pending_deletion'")),
        Index("ix_sandboxes_deleting", "lease_until", postgresql_where=text("status = 'deleting'")),
        Index("ix_sandboxes_failed", "status_since", postgresql_where=text("status = 'deletion_failed'")),
        Index("ix_sandboxes_stale", "status_since", postgresql_where=text("status = 'stale'")),
    )
    sandbox_id: str = Field(primary_key=True, sa_type=Text)
    external_id: str = free_text()
    name: str = free_text()
    status: str = free_text()
    status_since: datetime = timestamptz(default="clock_timestamp()")
    created_at: datetime = timestamptz(default="clock_timestamp()")
    made_available_at: datetime | None = nullable_timestamptz()
    pick_key: float = Field(sa_column=Column(Double, nullable=False, server_default=text("random()")))
    first_allocated_at: datetime | None = nullable_timestamptz()
    next_attempt_at: datetime | None = nullable_timestamptz()
    delete_attempts: int = count()
    last_error: str | None = nullable_text()
    lease_id: UUID | None = Field(default=None)
    lease_until: datetime | None = nullable_timestamptz()
    deleted_at: datetime | None = nullable_timestamptz()


class Allocation(SQLModel, table=True):
    """The ledger: which track had which sandbox, from when until when. Duration and deadline are its own."""

    __tablename__ = "allocations"
    __table_args__ = (
        PrimaryKeyConstraint("allocation_id"),
        UniqueConstraint("sandbox_id", name="uq_allocations_sandbox_id"),
        UniqueConstraint("track_id", "idempotency_key", name="uq_allocations_idempotency_key"),
        one_of("end_reason", END_REASONS),
        CheckConstraint("(ended_at IS NULL) = (end_reason IS NULL)", name="ended_has_reason"),
        CheckConstraint("(end_reason = 'revoked') = (revoke_reason IS NOT NULL)", name="revoked_has_reason"),
        CheckConstraint("duration_s > 0", name="duration_s"),
        CheckConstraint("allocated_at < expires_at AND expires_at <= deadline", name="expires_at"),
        CheckConstraint("expires_at <= grace_until", name="grace_until"),
        Index("uq_allocations_live", "track_id", unique=True, postgresql_where=text("ended_at IS NULL")),
        Index("ix_allocations_overdue", "grace_until", postgresql_where=text("ended_at IS NULL")),
        Index("ix_allocations_ended_at", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
        Index("ix_allocations_allocated_at", "allocated_at"),
    )
    allocation_id: int = identity()
    sandbox_id: str = refers_to("sandboxes.sandbox_id")
    track_id: str = free_text()
    track_name: str | None = nullable_text()
    idempotency_key: str | None = nullable_text()
    duration_s: int = Field(nullable=False)
    allocated_at: datetime = timestamptz()
    expires_at: datetime = timestamptz()
    grace_until: datetime = timestamptz()
    deadline: datetime = timestamptz()
    ended_at: datetime | None = nullable_timestamptz()
    end_reason: str | None = nullable_text()
    revoke_reason: str | None = nullable_text()


class SyncRun(SQLModel, table=True):
    """One look at the provider's list. A run that began later and has applied something makes an older list void."""

    __tablename__ = "sync_runs"
    __table_args__ = (
        PrimaryKeyConstraint("run_id"),
        CheckConstraint("synced >= 0 AND marked_stale >= 0 AND skipped >= 0 AND still_listed >= 0", name="counts"),
        CheckConstraint("(finished_at IS NULL) = (outcome IS NULL)", name="finished_has_outcome"),
        one_of("outcome", SYNC_OUTCOMES),
        Index("ix_sync_runs_started_at", "started_at"),
    )
    run_id: int = identity()
    started_at: datetime = timestamptz(default="clock_timestamp()")
    applied_at: datetime | None = nullable_timestamptz()  # since then an older list is void
    finished_at: datetime | None = nullable_timestamptz()
    outcome: str | None = nullable_text()
    synced: int = count()
    marked_stale: int = count()
    skipped: int = count()
    still_listed: int = count()  # deleted sandboxes among the listed


class JobRun(SQLModel, table=True):
    """The last run of each job; a lease says that it is running now."""

    __tablename__ = "job_runs"
    __table_args__ = (CheckConstraint("(lease_id IS NULL) = (lease_until IS NULL)", name="lease"),)
    job: str = Field(primary_key=True, sa_type=Text)
    finished_at: datetime | None = nullable_timestamptz()
    lease_id: UUID | None = Field(default=None)
    lease_until: datetime | None = nullable_timestamptz()
    look_again_at: datetime | None = nullable_timestamptz()  # before its interval is over: a deletion falls due
    counts: dict[str, int] | None = Field(default=None, sa_type=JSONB(none_as_null=True))


class Breaker(SQLModel, table=True):
    """The circuit breaker of the provider, one row: failures in a row, and until when it is open."""

    __tablename__ = "breaker"
    __table_args__ = (CheckConstraint("failures >= 0", name="failures"),)
    name: str = Field(primary_key=True, sa_type=Text)
    failures: int = count()
    open_until: datetime | None = nullable_timestamptz()
    paused_until: datetime | None = nullable_timestamptz()  # the provider's own Retry-After, for deletions


class Waiter(SQLModel, table=True):
    """The place of a track in the queue for a sandbox. A request is there until `parked_until`, which it renews.

    The rank outlives it by 60 s, for the next request of its track. An allocation ends both. Unlogged: a place is taken
    and renewed without waiting for a disk, and a crash of the database forgets it.
    """

    __tablename__ = "waiters"
    __table_args__ = (
        UniqueConstraint("rank", name="uq_waiters_rank"),
        Index("ix_waiters_seen_at", "seen_at"),
        {"prefixes": ["UNLOGGED"]},
    )
    track_id: str = Field(primary_key=True, sa_type=Text)
    rank: int = identity()
    parked_until: datetime = timestamptz()
    seen_at: datetime = timestamptz()
