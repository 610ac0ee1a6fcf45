"""Builds of the agent and who fetched them.

It does not hold the files: these lie in the storage, under their SHA-256.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, PrimaryKeyConstraint, UniqueConstraint
from sqlalchemy.dialects.postgresql import INET
from sqlmodel import Field, SQLModel

from nexmdm.kernel.columns import (
    IpAddress,
    free_text,
    identity,
    nullable_text,
    one_of,
    refers_to,
    sha256_hex,
    timestamptz,
)

BUILD_TYPES: Final = ("debug", "release")
DOWNLOAD_SOURCES: Final = ("enrollment", "manual", "ci")


class ApkVersion(SQLModel, table=True):
    """One build of the agent. `storage_url` is relative to the configured storage, which may move."""

    __tablename__ = "apk_versions"
    __table_args__ = (
        PrimaryKeyConstraint("build_id"),
        UniqueConstraint("package_name", "version_code", "build_type", name="uq_apk_versions_build"),
        one_of("build_type", BUILD_TYPES),
        CheckConstraint("version_code BETWEEN 1 AND 2100000000", name="version_code"),
        CheckConstraint("size_bytes > 0", name="size_bytes"),
        sha256_hex("sha256"),
        Index("idx_apk_build_type", "build_type"),
        Index("idx_apk_version_lookup", "package_name", "build_type", "version_code"),
        Index("ix_apk_versions_sha256", "sha256"),
    )
    build_id: int = identity()
    package_name: str = free_text("com.example.app")
    version_code: int
    version_name: str = free_text()
    build_type: str = free_text("release")
    size_bytes: int = Field(sa_type=BigInteger)
    sha256: str = free_text()
    storage_url: str = free_text()
    notes: str | None = nullable_text()
    ci_run_id: str | None = nullable_text()
    git_sha: str | None = nullable_text()
    signer_fingerprint: str | None = nullable_text()
    uploaded_at: datetime = timestamptz(default="now()")


class ApkDownloadEvent(SQLModel, table=True):
    """Who fetched which build: a token of a device to be, a person, or CI."""

    __tablename__ = "apk_download_events"
    __table_args__ = (
        PrimaryKeyConstraint("id"),
        one_of("source", DOWNLOAD_SOURCES),
        CheckConstraint("(source = 'enrollment') = (token_id IS NOT NULL)", name="token_id"),
        CheckConstraint("(source = 'enrollment') = (admin_user IS NULL)", name="admin_user"),
        Index("ix_apk_download_events_build_id", "build_id"),
        Index("ix_apk_download_events_token_id", "token_id"),
        Index("ix_apk_download_events_ts", "ts"),
    )
    id: int = identity()
    build_id: int = refers_to("apk_versions.build_id")
    source: str = free_text()
    token_id: UUID | None = refers_to("enrollment_tokens.token_id", nullable=True)
    admin_user: str | None = nullable_text()
    ip: IpAddress | None = Field(default=None, sa_type=INET)
    ts: datetime = timestamptz(default="now()")
