"""What the processes share through the database: rate limits, runs of periodic jobs, signing keys, API keys.

No row here belongs to a service. Only both kinds of keys are worth a backup.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import ARRAY, CheckConstraint, LargeBinary, PrimaryKeyConstraint, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from nexmdm.kernel.columns import (
    count,
    free_text,
    nullable_text,
    nullable_timestamptz,
    one_of,
    sha256_hex,
    sql_list,
    timestamptz,
)

KEY_ROLES: Final = ("admin", "track", "member", "agent")
ZONED_ROLES: Final = ("member", "agent")  # good for one zone


class RateLimit(SQLModel, table=True):
    """A sliding window per rule and subject. Unlogged: a crash forgets the counts, which harms nobody."""

    __tablename__ = "rate_limits"
    __table_args__ = (
        PrimaryKeyConstraint("rule", "subject"),
        CheckConstraint("hits >= 0 AND prior_hits >= 0", name="hits"),
        {"prefixes": ["UNLOGGED"]},
    )
    rule: str = free_text()
    subject: str = free_text()
    window_start: datetime = timestamptz()
    hits: int = count()
    prior_hits: int = count()


class SigningKey(SQLModel, table=True):
    """A key that every process needs to know and nobody else; the migration that makes its row draws it."""

    __tablename__ = "signing_keys"
    __table_args__ = (CheckConstraint("octet_length(key) >= 32", name="key"),)
    name: str = Field(primary_key=True, sa_type=Text)
    key: bytes = Field(sa_type=LargeBinary, nullable=False)


class ScheduledJob(SQLModel, table=True):
    """When a periodic job last began, so that of several workers one runs it."""

    __tablename__ = "scheduled_jobs"
    name: str = Field(primary_key=True, sa_type=Text)
    last_run_at: datetime | None = nullable_timestamptz()


class ApiKey(SQLModel, table=True):
    """A named credential (`kernel.keys`). `services` null: all of them. `subject`: the agent that it speaks for."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'", name="name"),
        one_of("role", KEY_ROLES),
        CheckConstraint("cardinality(services) > 0 AND array_position(services, NULL) IS NULL", name="services"),
        CheckConstraint(f"(role IN {sql_list(ZONED_ROLES)}) = (zone IS NOT NULL)", name="zone"),
        CheckConstraint("(role = 'agent') = (subject IS NOT NULL)", name="agent_has_subject"),
        CheckConstraint("subject ~ '^[A-Za-z0-9._:-]{1,128}$'", name="subject"),
        sha256_hex("key_hash"),
        UniqueConstraint("key_hash", name="uq_api_keys_key_hash"),
    )
    name: str = Field(primary_key=True, sa_type=Text)
    role: str = free_text()
    services: list[str] | None = Field(default=None, sa_type=ARRAY(Text))
    zone: str | None = nullable_text()
    subject: str | None = nullable_text()
    key_hash: str = free_text()
    created_at: datetime = timestamptz(default="now()")
    last_used_at: datetime | None = nullable_timestamptz()
    revoked_at: datetime | None = nullable_timestamptz()
