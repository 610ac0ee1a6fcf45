"""What the processes share through the database: spent rate limits, the last run of periodic jobs, signing keys.

No row here belongs to a service. Only the keys are worth a backup.
"""

from datetime import datetime

from sqlalchemy import CheckConstraint, LargeBinary, PrimaryKeyConstraint, Text
from sqlmodel import Field, SQLModel

from nexmdm.kernel.columns import count, maybe_moment, moment, words


class RateLimit(SQLModel, table=True):
    """A sliding window per rule and subject. Unlogged: a crash forgets the counts, which harms nobody."""

    __tablename__ = "rate_limits"
    __table_args__ = (
        PrimaryKeyConstraint("rule", "subject"),
        CheckConstraint("hits >= 0 AND prior_hits >= 0", name="hits"),
        {"prefixes": ["UNLOGGED"]},
    )
    rule: str = words()
    subject: str = words()
    window_start: datetime = moment()
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
    last_run_at: datetime | None = maybe_moment()
