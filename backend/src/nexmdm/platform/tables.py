"""Zones, their files with what these consist of, and their events.

`zones` and `zone_finalizers` are the registry, which every request reads; of the other tables with a zone_id row-level
security shows a transaction the rows of its own zone alone.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
)
from sqlmodel import Field, SQLModel

from nexmdm.kernel.columns import (
    amount,
    bytewise,
    count,
    free_text,
    made_uuid,
    nullable_text,
    nullable_timestamptz,
    one_of,
    refers_to,
    sha256_hex,
    timestamptz,
)
from nexmdm.platform.types import EVENT_TYPES, INLINE_BYTES, LIMITS, PHASES, ZONE_ID


def _limit() -> int | None:
    column: Column[int] = Column(BigInteger, nullable=True)
    limit: int | None = Field(default=None, sa_column=column)
    return limit


class Zone(SQLModel, table=True):
    """A zone. Every change of what is in it ends with a change of this row, which so carries quota, order and gate.

    event_seq: the number of its last event, whose time is event_at: neither ever goes back. uid: that of its objects; a
    later zone of the same id sees none of them.
    """

    __tablename__ = "zones"
    __table_args__ = (
        CheckConstraint(f"zone_id ~ '^{ZONE_ID}$'", name="zone_id"),
        UniqueConstraint("uid", name="uq_zones_uid"),
        one_of("phase", PHASES),
        CheckConstraint("zone_id <> 'root' OR phase = 'Active'", name="root_stays"),
        CheckConstraint("(phase = 'Terminating') = (terminating_at IS NOT NULL)", name="terminating_has_time"),
        CheckConstraint(" AND ".join(f"coalesce({limit}, 0) >= 0" for limit in LIMITS), name="limits"),
        CheckConstraint(
            "used_bytes >= 0 AND reserved_bytes >= 0 AND files >= 0 AND agents >= 0 AND tasks_queued >= 0"
            " AND uploads_open >= 0",
            name="usage",
        ),
        CheckConstraint("event_seq >= 0", name="event_seq"),
        Index("ix_zones_created_at", "created_at", "zone_id"),
    )
    zone_id: str = Field(primary_key=True, sa_type=Text)
    uid: UUID = made_uuid()
    name: str = free_text()
    domain: str | None = nullable_text()
    description: str | None = nullable_text()
    owner: str | None = nullable_text()
    phase: str = free_text("Active")
    terminating_at: datetime | None = nullable_timestamptz()
    max_storage_bytes: int | None = _limit()
    max_files: int | None = _limit()
    max_agents: int | None = _limit()
    max_tasks_queued: int | None = _limit()
    max_uploads_open: int | None = _limit()
    used_bytes: int = amount()
    reserved_bytes: int = amount()
    files: int = amount()
    agents: int = amount()
    tasks_queued: int = amount()
    uploads_open: int = amount()
    event_seq: int = amount()
    event_at: datetime = timestamptz(default="clock_timestamp()")
    created_at: datetime = timestamptz(default="clock_timestamp()")
    updated_at: datetime = timestamptz(default="clock_timestamp()")


class ZoneFinalizer(SQLModel, table=True):
    """A step of a zone's deletion, and how much it has removed. Steps are done in the order of their positions."""

    __tablename__ = "zone_finalizers"
    __table_args__ = (
        PrimaryKeyConstraint("zone_id", "position"),
        CheckConstraint("removed >= 0", name="removed"),
    )
    zone_id: str = refers_to("zones.zone_id", on_delete="CASCADE")
    position: int
    name: str = free_text()
    removed: int = amount()
    finished_at: datetime | None = nullable_timestamptz()


class File(SQLModel, table=True):
    """A file, or a directory that was made as such. Small contents lie here, large ones in parts."""

    __tablename__ = "files"
    __table_args__ = (
        PrimaryKeyConstraint("zone_id", "path"),
        UniqueConstraint("file_id", "zone_id", name="uq_files_file_id"),  # the zone's index is that of its paths
        CheckConstraint("path ~ '^/.' AND octet_length(path) <= 1100", name="path"),  # 1,024 of a caller's
        one_of("kind", ("file", "directory")),
        CheckConstraint("(kind = 'file') = (etag IS NOT NULL)", name="file_has_etag"),
        CheckConstraint("kind = 'file' OR (size = 0 AND content IS NULL)", name="directory_is_empty"),
        CheckConstraint("size >= 0 AND version >= 1", name="size"),
        CheckConstraint("content IS NULL OR octet_length(content) = size", name="content"),
        CheckConstraint(f"octet_length(content) <= {INLINE_BYTES}", name="content_is_small"),
    )
    zone_id: str = refers_to("zones.zone_id", on_delete="RESTRICT")
    path: str = bytewise()
    file_id: UUID = made_uuid()
    kind: str = free_text()
    size: int = amount()
    etag: str | None = nullable_text()
    version: int = count(1)
    content: bytes | None = Field(default=None, sa_type=LargeBinary)
    modified_at: datetime = timestamptz(default="clock_timestamp()")


class StoredObject(SQLModel, table=True):
    """A part of a large content, in the object store. Until a file has it, it stays for as long as it is pinned."""

    __tablename__ = "objects"
    __table_args__ = (
        PrimaryKeyConstraint("zone_id", "object_id"),
        CheckConstraint("size > 0", name="size"),
        sha256_hex("sha256"),
        Index("ix_objects_pinned_until", "pinned_until"),
    )
    zone_id: str = refers_to("zones.zone_id", on_delete="RESTRICT")
    object_id: UUID = Field(nullable=False)
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    sha256: str = free_text()
    pinned_until: datetime = timestamptz()  # infinity: a file has it


class FilePart(SQLModel, table=True):
    """Which objects a file consists of. A trigger demands a live pin, and lets go of the object with the row."""

    __tablename__ = "file_parts"
    __table_args__ = (
        PrimaryKeyConstraint("zone_id", "file_id", "number"),
        UniqueConstraint("zone_id", "object_id", name="uq_file_parts_object_id"),
        ForeignKeyConstraint(
            ["zone_id", "file_id"],
            ["files.zone_id", "files.file_id"],
            name="fk_file_parts_file_id",
            ondelete="CASCADE",
        ),
        ForeignKeyConstraint(
            ["zone_id", "object_id"],
            ["objects.zone_id", "objects.object_id"],
            name="fk_file_parts_object_id",
            ondelete="RESTRICT",
        ),
        CheckConstraint("number >= 1", name="number"),
    )
    zone_id: str = free_text()
    file_id: UUID = Field(nullable=False)
    number: int
    object_id: UUID = Field(nullable=False)


class Upload(SQLModel, table=True):
    """A resumable upload. What it has of its length is in parts; a finished one is a file, and stays for a while.

    holder: the request that has it. reserved: bytes of the zone's quota that are kept for it.
    """

    __tablename__ = "uploads"
    __table_args__ = (
        PrimaryKeyConstraint("zone_id", "upload_id"),
        CheckConstraint("path ~ '^/.' AND octet_length(path) <= 1024", name="path"),
        CheckConstraint(
            "upload_offset >= 0 AND upload_offset <= coalesce(length, upload_offset)", name="upload_offset"
        ),
        CheckConstraint("length >= 0 AND reserved >= 0", name="length"),
        CheckConstraint("finished_at IS NULL OR (upload_offset = length AND reserved = 0)", name="finished_is_whole"),
        Index("ix_uploads_expires_at", "expires_at"),
    )
    zone_id: str = refers_to("zones.zone_id", on_delete="RESTRICT")
    upload_id: UUID = Field(nullable=False)
    path: str = bytewise()
    length: int | None = _limit()
    upload_offset: int = amount()
    reserved: int = Field(sa_column=Column(BigInteger, nullable=False))
    metadata_: str = Field(sa_column=Column("metadata", Text, nullable=False))
    holder: UUID | None = Field(default=None)
    agent_id: str | None = nullable_text()
    created_at: datetime = timestamptz(default="clock_timestamp()")
    expires_at: datetime = timestamptz()
    finished_at: datetime | None = nullable_timestamptz()


class UploadPart(SQLModel, table=True):
    """Which objects an upload has so far; the triggers of `file_parts` are also here."""

    __tablename__ = "upload_parts"
    __table_args__ = (
        PrimaryKeyConstraint("zone_id", "upload_id", "number"),
        UniqueConstraint("zone_id", "object_id", name="uq_upload_parts_object_id"),
        ForeignKeyConstraint(
            ["zone_id", "upload_id"],
            ["uploads.zone_id", "uploads.upload_id"],
            name="fk_upload_parts_upload_id",
            ondelete="CASCADE",
        ),
        ForeignKeyConstraint(
            ["zone_id", "object_id"],
            ["objects.zone_id", "objects.object_id"],
            name="fk_upload_parts_object_id",
            ondelete="RESTRICT",
        ),
        CheckConstraint("number >= 1", name="number"),
    )
    zone_id: str = free_text()
    upload_id: UUID = Field(nullable=False)
    number: int
    object_id: UUID = Field(nullable=False)


class ZoneEvent(SQLModel, table=True):
    """A committed change. The numbers of a zone have no gap, and are in the order of the commits."""

    __tablename__ = "events"
    __table_args__ = (
        PrimaryKeyConstraint("zone_id", "sequence_number"),
        UniqueConstraint("event_id", name="uq_events_event_id"),
        one_of("type", EVENT_TYPES),
        CheckConstraint("(type = 'rename') = (new_path IS NOT NULL)", name="rename_has_new_path"),
        CheckConstraint("sequence_number >= 1", name="sequence_number"),
        Index("ix_events_type", "zone_id", "type", "sequence_number"),
        Index("ix_events_path", "zone_id", "path", "sequence_number"),
        Index("ix_events_occurred_at", "occurred_at", postgresql_using="brin"),
    )
    zone_id: str = refers_to("zones.zone_id", on_delete="RESTRICT")
    sequence_number: int = Field(sa_column=Column(BigInteger, nullable=False))
    event_id: UUID = made_uuid()
    type: str = free_text()
    path: str = bytewise()
    new_path: str | None = bytewise(nullable=True)
    agent_id: str | None = nullable_text()
    occurred_at: datetime = timestamptz()
