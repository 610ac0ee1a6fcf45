"""Devices, what they last said, every heartbeat of the last days, and the tokens that let a device in.

It does not say how a row comes to be: those rules stand with their nouns.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Double, Index, PrimaryKeyConstraint, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import INET
from sqlmodel import Field, SQLModel

from nexmdm.kernel.columns import (
    IpAddress,
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

HEARTBEAT_STATUSES: Final = ("ok", "warn", "error")
NETWORK_TYPES: Final = ("wifi", "cellular", "ethernet", "none", "unknown")
ONE_OWNER: Final = "uq_devices_live_fcm_token"
TOKEN_SCOPES: Final = ("register", "apk_download")


class Device(SQLModel, table=True):
    """One enrolled device. An alias names at most one, also after it was retired; so does a live FCM token."""

    __tablename__ = "devices"
    __table_args__ = (
        UniqueConstraint("alias", name="uq_devices_alias"),
        CheckConstraint(r"token_hash ~ '^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$'", name="token_hash_is_bcrypt"),
        CheckConstraint("token_version > 0", name="token_version"),
        CheckConstraint("sdk_int BETWEEN 1 AND 1000", name="sdk_int"),
        CheckConstraint("fcm_token_dead_at IS NULL OR fcm_token IS NOT NULL", name="fcm_token_dead_at"),
        CheckConstraint("updated_at >= registered_at", name="updated_at"),
        CheckConstraint("retired_at >= registered_at", name="retired_at"),
        Index("ix_devices_registered_at", "registered_at", "device_id"),
        Index(ONE_OWNER, "fcm_token", unique=True, postgresql_where=text("fcm_token_dead_at IS NULL")),
    )
    device_id: UUID = Field(primary_key=True)
    alias: str = free_text()
    token_hash: str = free_text()
    token_version: int = count(1)
    agent_version: str = free_text()
    manufacturer: str | None = nullable_text()
    model: str | None = nullable_text()
    serial: str | None = nullable_text()
    android_version: str | None = nullable_text()
    sdk_int: int | None = None
    fcm_token: str | None = nullable_text()
    fcm_token_dead_at: datetime | None = nullable_timestamptz()
    registered_at: datetime = timestamptz(default="now()")
    updated_at: datetime = timestamptz(default="now()")
    retired_at: datetime | None = nullable_timestamptz()


class DeviceStatus(SQLModel, table=True):
    """What every heartbeat overwrites. Narrow, half empty pages and no second index: each update stays a HOT update."""

    __tablename__ = "device_status"
    __table_args__ = (one_of("last_status", HEARTBEAT_STATUSES), {"postgresql_with": {"fillfactor": 50}})
    device_id: UUID = refers_to("devices.device_id", primary=True)
    last_seen: datetime = timestamptz()
    last_status: str = free_text()


class DeviceHeartbeat(SQLModel, table=True):
    """At most one row per device and 10 s bucket; a partition per UTC day, so that a day is dropped and not deleted."""

    __tablename__ = "device_heartbeats"
    __table_args__ = (
        PrimaryKeyConstraint("hb_id", "bucket"),
        UniqueConstraint("device_id", "bucket", name="uq_device_heartbeats_device_bucket"),
        CheckConstraint("bucket = date_bin('10 seconds', ts, TIMESTAMPTZ 'epoch')", name="bucket_of_ts"),
        one_of("status", HEARTBEAT_STATUSES),
        one_of("network_type", NETWORK_TYPES),
        CheckConstraint("battery_pct BETWEEN 0 AND 100", name="battery_pct"),
        CheckConstraint("temp_c BETWEEN -100 AND 200", name="temp_c"),
        CheckConstraint("signal_dbm BETWEEN -200 AND 0", name="signal_dbm"),
        CheckConstraint("uptime_s BETWEEN 0 AND 4294967295", name="uptime_s"),
        CheckConstraint("ram_used_mb BETWEEN 0 AND 1048576", name="ram_used_mb"),
        {"postgresql_partition_by": "RANGE (bucket)"},
    )
    hb_id: int = identity()
    device_id: UUID = refers_to("devices.device_id")
    bucket: datetime = timestamptz()
    ts: datetime = timestamptz()
    ip: IpAddress | None = Field(default=None, sa_type=INET)
    status: str = free_text()
    battery_pct: int | None = None
    plugged: bool | None = None
    temp_c: float | None = Field(default=None, sa_type=Double)
    network_type: str | None = nullable_text()
    signal_dbm: int | None = None
    uptime_s: int | None = Field(default=None, sa_type=BigInteger)
    ram_used_mb: int | None = None
    unity_pkg_version: str | None = nullable_text()
    unity_running: bool | None = None
    agent_version: str | None = nullable_text()


class EnrollmentToken(SQLModel, table=True):
    """A right to enrol or to download, shown once; only its SHA-256 is kept."""

    __tablename__ = "enrollment_tokens"
    __table_args__ = (
        UniqueConstraint("token_hash", name="uq_enrollment_token_hash"),
        one_of("scope", TOKEN_SCOPES),
        sha256_hex("token_hash", name="token_hash_is_sha256"),
        CheckConstraint("expires_at > created_at", name="expires_at"),
        CheckConstraint("uses_allowed > 0", name="uses_allowed"),
        CheckConstraint("uses_consumed BETWEEN 0 AND uses_allowed", name="uses_consumed"),
        Index("idx_enrollment_issued_by", "issued_by"),
        Index("ix_enrollment_tokens_alias", "alias"),
        Index("ix_enrollment_tokens_created_at", "created_at", "token_id"),
    )
    token_id: UUID = Field(primary_key=True)
    alias: str = free_text()
    token_hash: str = free_text()
    scope: str = free_text("register")
    issued_by: str = free_text()
    note: str | None = nullable_text()
    created_at: datetime = timestamptz(default="now()")
    expires_at: datetime = timestamptz()
    uses_allowed: int = count(1)
    uses_consumed: int = count()
    last_used_at: datetime | None = nullable_timestamptz()
    revoked_at: datetime | None = nullable_timestamptz()
