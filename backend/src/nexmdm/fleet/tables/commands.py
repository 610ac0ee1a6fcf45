"""Commands, their way to each device, and every step on that way.

The transitions that are allowed stand in `dispatch_states`; here stands what can never be true.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import CheckConstraint, Column, Double, Index, PrimaryKeyConstraint, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from nexmdm.fleet.dispatch_states import OPEN, STATUSES
from nexmdm.kernel.columns import (
    count,
    free_text,
    identity,
    nullable_text,
    nullable_timestamptz,
    one_of,
    refers_to,
    sha256_hex,
    sql_list,
    timestamptz,
)

ACTIONS: Final = ("ping", "launch_app")
OUTCOMES: Final = ("ok", "error")


class Command(SQLModel, table=True):
    """What an admin asked for, once per request_id; `content_hash` tells a repeat from a conflict."""

    __tablename__ = "commands"
    __table_args__ = (
        one_of("action", ACTIONS),
        CheckConstraint("jsonb_typeof(params) = 'object'", name="params"),
        sha256_hex("content_hash"),
        CheckConstraint("expires_at > created_at", name="expires_at"),
        Index("ix_commands_created_at", "created_at"),
    )
    request_id: str = Field(primary_key=True, sa_type=Text)
    action: str = free_text()
    params: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False, server_default=text("'{}'")))
    content_hash: str = free_text()
    http_request_id: str = free_text()
    created_at: datetime = timestamptz(default="now()")
    expires_at: datetime = timestamptz()


class FcmDispatch(SQLModel, table=True):
    """One command on its way to one device: outbox row, FCM's answer and the device's result."""

    __tablename__ = "fcm_dispatches"
    __table_args__ = (
        UniqueConstraint("command_request_id", "device_id", name="uq_fcm_dispatches_command_device"),
        UniqueConstraint("command_request_id", "ordinal", name="uq_fcm_dispatches_command_ordinal"),
        one_of("status", STATUSES),
        one_of("action", ACTIONS),
        one_of("outcome", OUTCOMES),
        sha256_hex("payload_hash"),
        CheckConstraint("ordinal >= 0 AND attempts >= 0 AND retries >= 0 AND latency_ms >= 0", name="counts"),
        CheckConstraint("http_code BETWEEN 100 AND 599", name="http_code"),
        CheckConstraint("expires_at > created_at", name="expires_at"),
        CheckConstraint("(status = 'sending') = (lease_until IS NOT NULL)", name="lease_while_sending"),
        # A device may answer before the worker has stored FCM's answer: completed and expired stand with and without.
        CheckConstraint("status <> 'sent' OR sent_at IS NOT NULL", name="sent_has_time"),
        CheckConstraint("status NOT IN ('queued', 'sending', 'failed') OR sent_at IS NULL", name="unsent_has_no_time"),
        CheckConstraint("(status = 'completed') = (completed_at IS NOT NULL)", name="completed_has_time"),
        CheckConstraint("(status = 'completed') = (outcome IS NOT NULL)", name="completed_has_outcome"),
        CheckConstraint(
            "outcome IS NOT NULL OR num_nonnulls(finished_at, result_message, result_data) = 0", name="result"
        ),
        CheckConstraint("jsonb_typeof(result_data) = 'object'", name="result_data"),
        Index("ix_fcm_dispatches_created_at", "created_at", "request_id"),
        Index("ix_fcm_dispatches_device_id", "device_id", "created_at"),
        # What the worker asks for: work that is due, and leases whose owner died.
        Index("ix_fcm_dispatches_due", "next_attempt_at", postgresql_where=text("status = 'queued'")),
        Index("ix_fcm_dispatches_open", "expires_at", postgresql_where=text(f"status IN {sql_list(OPEN)}")),
        Index("ix_fcm_dispatches_leased", "lease_until", postgresql_where=text("status = 'sending'")),
    )
    request_id: str = Field(primary_key=True, sa_type=Text)
    command_request_id: str = refers_to("commands.request_id")
    ordinal: int
    device_id: UUID = refers_to("devices.device_id")
    action: str = free_text()
    payload_hash: str = free_text()
    status: str = free_text("queued")
    created_at: datetime = timestamptz(default="now()")
    next_attempt_at: datetime = timestamptz(default="now()")
    lease_until: datetime | None = nullable_timestamptz()
    attempts: int = count()
    retries: int = count()
    sent_at: datetime | None = nullable_timestamptz()
    completed_at: datetime | None = nullable_timestamptz()
    expires_at: datetime = timestamptz()
    latency_ms: float | None = Field(default=None, sa_type=Double)
    fcm_message_id: str | None = nullable_text()
    http_code: int | None = None
    fcm_status: str | None = nullable_text()
    error_msg: str | None = nullable_text()
    # none_as_null: Python's None is SQL NULL here, never the JSON document `null`.
    response_json: dict[str, Any] | None = Field(default=None, sa_type=JSONB(none_as_null=True))
    outcome: str | None = nullable_text()
    finished_at: datetime | None = nullable_timestamptz()
    result_message: str | None = nullable_text()
    result_data: dict[str, Any] | None = Field(default=None, sa_type=JSONB(none_as_null=True))


class DispatchTransition(SQLModel, table=True):
    """Every change of a dispatch's status, in the order of `id`."""

    __tablename__ = "dispatch_transitions"
    __table_args__ = (
        PrimaryKeyConstraint("id"),
        one_of("status", STATUSES),
        CheckConstraint("http_code BETWEEN 100 AND 599", name="http_code"),
        CheckConstraint("latency_ms >= 0", name="latency_ms"),
        Index("ix_dispatch_transitions_request_id", "request_id", "id"),
    )
    id: int = identity()
    request_id: str = refers_to("fcm_dispatches.request_id", on_delete="CASCADE")
    status: str = free_text()
    at: datetime = timestamptz(default="now()")
    http_code: int | None = None
    fcm_status: str | None = nullable_text()
    latency_ms: float | None = Field(default=None, sa_type=Double)
    error_msg: str | None = nullable_text()
