"""The agents of zones and what each can do. Row-level security shows a transaction the rows of its own zone alone."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from nexmdm.kernel.columns import (
    amount,
    free_text,
    made_uuid,
    nullable_text,
    nullable_timestamptz,
    one_of,
    refers_to,
    timestamptz,
)
from nexmdm.platform.types import AGENT_ID, AGENT_STATES, QOS_CLASSES


def _members() -> dict[str, Any]:
    column: Column[Any] = Column(JSONB, nullable=False, server_default=text("'{}'"))
    members: dict[str, Any] = Field(default={}, sa_column=column)
    return members


class Agent(SQLModel, table=True):
    """An agent: what it was registered as, its session, its spec, and what its heartbeats say.

    uid: of this registration; a later one of the same id has another. generation: of its session, which each connection
    raises. spec_generation: 0 without a spec. key_name: the key that was made with it. ready_since: when its readiness
    last changed, unless that was a heartbeat that is missing now. warmup, warmup_until: a warmup that runs.
    """

    __tablename__ = "agents"
    __table_args__ = (
        PrimaryKeyConstraint("zone_id", "agent_id"),
        UniqueConstraint("zone_id", "created_at", "uid", name="uq_agents_created_at"),
        CheckConstraint(f"agent_id ~ '^{AGENT_ID}$'", name="agent_id"),
        one_of("state", AGENT_STATES),
        CheckConstraint("generation >= 0 AND (generation = 0) = (state = 'UNKNOWN')", name="generation"),
        CheckConstraint("(connected_at IS NULL) = (state = 'UNKNOWN')", name="connected_has_time"),
        CheckConstraint("observed_generation BETWEEN 0 AND spec_generation", name="observed_generation"),
        one_of("qos_class", QOS_CLASSES),
        CheckConstraint("(spec_generation > 0) = (agent_type IS NOT NULL)", name="spec_has_type"),
        CheckConstraint("(spec_generation > 0) = (qos_class IS NOT NULL)", name="spec_has_class"),
        CheckConstraint("tokens_used >= 0 AND storage_used_mb >= 0", name="usage"),
        CheckConstraint("context_usage_pct BETWEEN 0 AND 100", name="context_usage_pct"),
        CheckConstraint("(warmup IS NULL) = (warmup_until IS NULL)", name="warmup_ends"),
    )
    zone_id: str = refers_to("zones.zone_id", on_delete="RESTRICT")
    agent_id: str = free_text()
    uid: UUID = made_uuid()
    user_id: str = free_text()
    name: str = free_text()
    description: str | None = nullable_text()
    metadata_: dict[str, Any] = Field(
        default={}, sa_column=Column("metadata", JSONB, nullable=False, server_default=text("'{}'"))
    )
    key_name: str | None = refers_to("api_keys.name", nullable=True)
    created_at: datetime = timestamptz(default="statement_timestamp()")
    updated_at: datetime = timestamptz(default="statement_timestamp()")
    state: str = free_text("UNKNOWN")
    generation: int = amount()
    connected_at: datetime | None = nullable_timestamptz()
    last_heartbeat: datetime | None = nullable_timestamptz()
    ready_since: datetime = timestamptz(default="statement_timestamp()")
    spec_generation: int = amount()
    observed_generation: int = amount()
    agent_type: str | None = nullable_text()
    resource_requests: dict[str, Any] = _members()
    resource_limits: dict[str, Any] = _members()
    qos_class: str | None = nullable_text()
    zone_affinity: str | None = nullable_text()
    tokens_used: int = amount()
    storage_used_mb: int = amount()
    context_usage_pct: float = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    warmup: UUID | None = Field(default=None)
    warmup_until: datetime | None = nullable_timestamptz()


class AgentCapability(SQLModel, table=True):
    """One thing that an agent can do. A table of its own: under a policy no index of an array is used."""

    __tablename__ = "agent_capabilities"
    __table_args__ = (
        PrimaryKeyConstraint("zone_id", "capability", "agent_id"),
        ForeignKeyConstraint(
            ["zone_id", "agent_id"],
            ["agents.zone_id", "agents.agent_id"],
            name="fk_agent_capabilities_agent_id",
            ondelete="CASCADE",
        ),
        Index("ix_agent_capabilities_agent_id", "zone_id", "agent_id", "capability"),
    )
    zone_id: str = free_text()
    capability: str = Field(sa_column=Column(Text(collation="C"), nullable=False))
    agent_id: str = free_text()
