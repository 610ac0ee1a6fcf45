"""What the processes tell one another through the database: spent rate limits and the last run of periodic jobs.

Nothing here is worth a backup.
"""

from datetime import datetime

from sqlalchemy import CheckConstraint, PrimaryKeyConstraint, Text
from sqlmodel import Field, SQLModel

from nexmdm.tables.columns import count, maybe_moment, moment, words


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


class ScheduledJob(SQLModel, table=True):
    """When a periodic job last began, so that of several workers one runs it."""

    __tablename__ = "scheduled_jobs"
    name: str = Field(primary_key=True, sa_type=Text)
    last_run_at: datetime | None = maybe_moment()
