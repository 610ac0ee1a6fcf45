"""The parts of the platform that can be unmounted, and what they need of each other."""

from datetime import datetime

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    Text,
    text,
)
from sqlmodel import Field, SQLModel

from nexmdm.kernel.columns import free_text, nullable_text, timestamptz


class Brick(SQLModel, table=True):
    """A part of the platform, and whether it is to serve. Every request of it reads its row.

    error: what its loop failed of in its last turn.
    """

    __tablename__ = "bricks"
    __table_args__ = (
        CheckConstraint("error IS NULL OR mounted", name="failed_is_mounted"),
        Index("uq_bricks_mounted", "name", "mounted", unique=True),
    )
    name: str = Field(primary_key=True, sa_type=Text)
    mounted: bool = Field(default=True, nullable=False, sa_column_kwargs={"server_default": text("true")})
    changed_at: datetime = timestamptz(default="clock_timestamp()")
    error: str | None = nullable_text()


class BrickNeed(SQLModel, table=True):
    """What a part needs. The row follows the part, and demands that the other is mounted for as long as the part is."""

    __tablename__ = "brick_needs"
    __table_args__ = (
        PrimaryKeyConstraint("brick", "needs"),
        ForeignKeyConstraint(
            ["brick", "brick_mounted"],
            ["bricks.name", "bricks.mounted"],
            name="fk_brick_needs_brick",
            onupdate="CASCADE",
            ondelete="CASCADE",
        ),
        ForeignKeyConstraint(
            ["needs", "needs_mounted"], ["bricks.name", "bricks.mounted"], name="fk_brick_needs_needs"
        ),
    )
    brick: str = free_text()
    needs: str = free_text()
    brick_mounted: bool = Field(default=True, nullable=False, sa_column_kwargs={"server_default": text("true")})
    needs_mounted: bool | None = Field(
        sa_column=Column(Boolean, Computed("CASE WHEN brick_mounted THEN true ELSE NULL::boolean END", persisted=True))
    )
