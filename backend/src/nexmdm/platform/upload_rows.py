"""The rows of uploads: made, taken over, moved on part by part, finished as a file, ended without one."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg
import uuid_utils.compat as uuid_utils

from nexmdm.platform.contents import Content, etag_of
from nexmdm.platform.files import around, store
from nexmdm.platform.zone_row import BlockedPathError, Change, check_change, commit_change

RESERVED_AT_A_TIME: Final = 64 * 2**20  # bytes of an upload whose length is not known yet

_INSERT: Final = """
    INSERT INTO uploads (zone_id, upload_id, path, length, reserved, metadata, agent_id, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + make_interval(secs => $8)) RETURNING *
"""
_FIND: Final = "SELECT * FROM uploads WHERE zone_id = $1 AND upload_id = $2 AND expires_at > clock_timestamp()"
_LOCK: Final = f"{_FIND} FOR UPDATE"
# The newest request has the upload: whoever had it finds out with its next part.
_TAKE_OVER: Final = """
    UPDATE uploads SET holder = $4 WHERE zone_id = $1 AND upload_id = $2 AND upload_offset = $3 AND finished_at IS NULL
    RETURNING upload_id
"""
_MOVE_ON: Final = """
    UPDATE uploads SET upload_offset = upload_offset + $5,
        expires_at = clock_timestamp() + make_interval(secs => $6)
    WHERE zone_id = $1 AND upload_id = $2 AND upload_offset = $3 AND holder = $4 AND finished_at IS NULL
    RETURNING *
"""
_TAKE_PARTS: Final = """
    INSERT INTO upload_parts (zone_id, upload_id, number, object_id)
    SELECT $1, $2, last.number + part.number, part.id
    FROM unnest($3::uuid[]) WITH ORDINALITY AS part (id, number), LATERAL (
        SELECT coalesce(max(number), 0) AS number FROM upload_parts WHERE zone_id = $1 AND upload_id = $2) AS last
"""
_PARTS: Final = """
    SELECT o.object_id, o.sha256 FROM upload_parts AS p JOIN objects AS o USING (zone_id, object_id)
    WHERE p.zone_id = $1 AND p.upload_id = $2 ORDER BY p.number
"""
_FINISH: Final = """
    UPDATE uploads SET finished_at = clock_timestamp(), reserved = 0, holder = NULL
    WHERE zone_id = $1 AND upload_id = $2 RETURNING *
"""
_DROP_PARTS: Final = "DELETE FROM upload_parts WHERE zone_id = $1 AND upload_id = $2"
_SET_LENGTH: Final = """
    UPDATE uploads SET length = $3, reserved = $3
    WHERE zone_id = $1 AND upload_id = $2 AND holder = $4 AND length IS NULL AND reserved = $5 RETURNING *
"""
_RESERVE: Final = "UPDATE uploads SET reserved = reserved + $3 WHERE zone_id = $1 AND upload_id = $2 RETURNING *"
_DELETE: Final = "DELETE FROM uploads WHERE zone_id = $1 AND upload_id = $2"

Tx: TypeAlias = "asyncpg.Connection[Any]"


class UploadMovedError(Exception):
    """The upload is at another offset, or another request has taken it over."""


async def create(
    tx: Tx, zone_id: str, path: str, length: int | None, metadata: str, agent_id: str | None, lives_s: float
) -> asyncpg.Record:
    """A new upload, its bytes reserved; BlockedPathError, QuotaExceededError, ZoneEndsError. Its length may be 0."""
    reserved = RESERVED_AT_A_TIME if length is None else length
    await _check_target(tx, zone_id, path)
    row = await tx.fetchrow(_INSERT, zone_id, uuid_utils.uuid7(), path, length, reserved, metadata, agent_id, lives_s)
    assert row is not None
    await commit_change(
        tx,
        zone_id,
        Change(type="upload.created", path=path, agent_id=agent_id, reserved_bytes=reserved, uploads_open=1),
    )
    return row


async def _check_target(tx: Tx, zone_id: str, path: str) -> None:
    await check_change(tx, zone_id, Change(type=None, **around(path, is_new=True)))
    if await tx.fetchval("SELECT kind FROM files WHERE zone_id = $1 AND path = $2", zone_id, path) == "directory":
        raise BlockedPathError("is_a_directory")


async def find(tx: Tx, zone_id: str, upload_id: UUID, *, lock: bool = False) -> asyncpg.Record | None:
    """The upload, unless it has run out."""
    return await tx.fetchrow(_LOCK if lock else _FIND, zone_id, upload_id)


async def take_over(tx: Tx, zone_id: str, upload_id: UUID, offset: int, holder: UUID) -> None:
    """UploadMovedError: it is at another offset, or finished."""
    if await tx.fetchval(_TAKE_OVER, zone_id, upload_id, offset, holder) is None:
        raise UploadMovedError


async def declare_length(tx: Tx, zone_id: str, row: asyncpg.Record, holder: UUID, length: int) -> asyncpg.Record:
    """The length of an upload that deferred it; its reservation becomes exact. UploadMovedError: another came first."""
    declared = await tx.fetchrow(_SET_LENGTH, zone_id, row["upload_id"], length, holder, row["reserved"])
    if declared is None:
        raise UploadMovedError
    await commit_change(tx, zone_id, Change(type=None, reserved_bytes=length - row["reserved"]))
    return declared


async def move_on(
    tx: Tx, zone_id: str, upload_id: UUID, offset: int, holder: UUID, content: Content | None, lives_s: float
) -> asyncpg.Record:
    """Add parts at the offset. With its last one the upload is finished: file, quota and event in this transaction.

    Raises:
        UploadMovedError; BlockedPathError, QuotaExceededError, ZoneEndsError: then the parts are not taken.
    """
    size = content.size if content else 0
    row = await tx.fetchrow(_MOVE_ON, zone_id, upload_id, offset, holder, size, lives_s)
    if row is None:
        raise UploadMovedError
    if content is not None and content.parts:
        await tx.execute(_TAKE_PARTS, zone_id, upload_id, list(content.parts))
    if row["upload_offset"] == row["length"]:
        return await finish(tx, zone_id, row)
    if (lacking := row["upload_offset"] - row["reserved"]) > 0:
        more = -(-lacking // RESERVED_AT_A_TIME) * RESERVED_AT_A_TIME
        row = await tx.fetchrow(_RESERVE, zone_id, upload_id, more)
        assert row is not None
        await commit_change(tx, zone_id, Change(type=None, reserved_bytes=more))
    return row


async def finish(tx: Tx, zone_id: str, row: asyncpg.Record) -> asyncpg.Record:
    """The upload's parts become a file's."""
    parts = await tx.fetch(_PARTS, zone_id, row["upload_id"])
    empty = Content(0, sha256().hexdigest(), b"")
    digests = [bytes.fromhex(part["sha256"]) for part in parts]
    content = (
        empty
        if not parts
        else Content(row["length"], etag_of(digests), None, tuple(part["object_id"] for part in parts))
    )
    _, growth, is_new = await store(tx, zone_id, row["path"], content, _refuse_directory)
    await tx.execute(_DROP_PARTS, zone_id, row["upload_id"])
    finished = await tx.fetchrow(_FINISH, zone_id, row["upload_id"])
    assert finished is not None
    change = Change(
        type="write",
        path=row["path"],
        agent_id=row["agent_id"],
        used_bytes=growth,
        reserved_bytes=-row["reserved"],
        files=int(is_new),
        uploads_open=-1,
        **around(row["path"], is_new=is_new),
    )
    await commit_change(tx, zone_id, change)
    return finished


def _refuse_directory(old: asyncpg.Record | None) -> None:
    if old is not None and old["kind"] == "directory":
        raise BlockedPathError("is_a_directory")


async def end(tx: Tx, zone_id: str, row: asyncpg.Record) -> None:
    """Take the upload away. Of one that is not finished, what it had reserved is given back."""
    await tx.execute(_DELETE, zone_id, row["upload_id"])
    if row["finished_at"] is None:
        change = Change(
            type="upload.terminated",
            path=row["path"],
            agent_id=row["agent_id"],
            reserved_bytes=-row["reserved"],
            uploads_open=-1,
        )
        await commit_change(tx, zone_id, change)
