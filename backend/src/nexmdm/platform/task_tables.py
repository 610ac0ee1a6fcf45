"""Tasks of a zone, with the lease of the executor that runs one, and their attempts."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from nexmdm.kernel.columns import (
    count,
    free_text,
    identity,
    nullable_text,
    nullable_timestamptz,
    one_of,
    refers_to,
    sha256_hex,
    timestamptz,
)
from nexmdm.platform.types import ATTEMPT_OUTCOMES, PRIORITIES, REQUEST_STATES, TASK_STATUSES


class Task(SQLModel, table=True):
    """A task. It is claimed in the order of rank and sequence_number, among those of its executor that are due.

    tier: the place of its priority. rank: when it was due, later by the tier. body_hash: of the request, for a repeat.
    attempt: the number of the last one. claimed_by: the agent that has claimed it; agent_uid, generation: its session.
    """

    __tablename__ = "tasks"
    __table_args__ = (
        PrimaryKeyConstraint("zone_id", "task_id"),
        UniqueConstraint("zone_id", "owner", "idempotency_key", name="uq_tasks_idempotency_key"),
        one_of("status", TASK_STATUSES),
        one_of("request_state", REQUEST_STATES),
        CheckConstraint(f"tier BETWEEN 0 AND {len(PRIORITIES) - 1}", name="tier"),
        CheckConstraint("octet_length(payload) <= 65536 AND octet_length(result) <= 65536", name="payload"),
        CheckConstraint("(idempotency_key IS NULL) = (body_hash IS NULL)", name="idempotency_key_has_hash"),
        sha256_hex("body_hash"),
        CheckConstraint("attempt BETWEEN 0 AND max_attempts", name="attempt"),
        CheckConstraint("status <> 'queued' OR attempt < max_attempts", name="queued_has_attempts_left"),
        CheckConstraint(
            "(status = 'running') = (lease_token IS NOT NULL) AND (status = 'running') = (lease_until IS NOT NULL)",
            name="running_has_lease",
        ),
        CheckConstraint("(status IN ('queued', 'running')) = (completed_at IS NULL)", name="ended_has_time"),
        CheckConstraint("result IS NULL OR status = 'completed'", name="result_is_of_completed"),
        CheckConstraint(
            "NOT cancel_requested OR status IN ('running', 'completed', 'cancelled')", name="cancelled_stays"
        ),
        Index(
            "ix_tasks_queue",
            "zone_id",
            "executor",
            "rank",
            "sequence_number",
            "due_at",
            postgresql_where=text("status = 'queued'"),
        ),
        Index("ix_tasks_lease_until", "lease_until", postgresql_where=text("status = 'running'")),
        Index("ix_tasks_deadline", "deadline", postgresql_where=text("status = 'queued'")),
        Index("ix_tasks_completed_at", "completed_at", postgresql_where=text("completed_at IS NOT NULL")),
    )
    zone_id: str = refers_to("zones.zone_id", on_delete="RESTRICT")
    task_id: UUID = Field(nullable=False)
    sequence_number: int = identity()
    owner: str = free_text()
    executor: str = free_text()
    task_type: str = free_text()
    payload: str = free_text()
    tier: int
    request_state: str = free_text()
    status: str = free_text("queued")
    enqueued_at: datetime = timestamptz()
    not_before: datetime | None = nullable_timestamptz()
    deadline: datetime | None = nullable_timestamptz()
    due_at: datetime = timestamptz()
    rank: datetime = timestamptz()
    idempotency_key: str | None = nullable_text()
    body_hash: str | None = nullable_text()
    max_attempts: int
    backoff_base_s: float
    backoff_cap_s: float
    attempt: int = count()
    lease_token: UUID | None = Field(default=None)
    lease_until: datetime | None = nullable_timestamptz()
    lease_s: float | None = Field(default=None)
    claimed_by: str | None = nullable_text()
    agent_uid: UUID | None = Field(default=None)
    generation: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    cancel_requested: bool = Field(default=False, nullable=False, sa_column_kwargs={"server_default": text("false")})
    started_at: datetime | None = nullable_timestamptz()
    completed_at: datetime | None = nullable_timestamptz()
    result: str | None = nullable_text()
    error_message: str | None = nullable_text()


class TaskAttempt(SQLModel, table=True):
    """An attempt at a task. Of a task at most one has not ended."""

    __tablename__ = "task_attempts"
    __table_args__ = (
        PrimaryKeyConstraint("zone_id", "task_id", "number"),
        ForeignKeyConstraint(
            ["zone_id", "task_id"],
            ["tasks.zone_id", "tasks.task_id"],
            name="fk_task_attempts_task_id",
            ondelete="CASCADE",
        ),
        CheckConstraint("number >= 1", name="number"),
        one_of("outcome", ATTEMPT_OUTCOMES),
        CheckConstraint("(ended_at IS NULL) = (outcome IS NULL)", name="ended_has_outcome"),
        Index("uq_task_attempts_open", "zone_id", "task_id", unique=True, postgresql_where=text("ended_at IS NULL")),
    )
    zone_id: str = free_text()
    task_id: UUID = Field(nullable=False)
    number: int
    started_at: datetime = timestamptz(default="clock_timestamp()")
    ended_at: datetime | None = nullable_timestamptz()
    outcome: str | None = nullable_text()
    error: str | None = nullable_text()
