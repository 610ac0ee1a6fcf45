"""Files: written and read whole or in ranges, under conditions, and deleted. Directories are implied by their files."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import asyncpg

from nexmdm.platform import contents, mount_writes, mounted, paths
from nexmdm.platform.agent_rows import Tx
from nexmdm.platform.call import Call
from nexmdm.platform.contents import Content
from nexmdm.platform.file_shapes import Bytes, Named, Read, Write
from nexmdm.platform.mount_writes import AskAgainError, Asked
from nexmdm.platform.mounted import Spot
from nexmdm.platform.rpc import Method, aside
from nexmdm.platform.rpc_errors import (
    BACKEND_UNAVAILABLE,
    CONTENT_INVALID,
    ETAG_MISMATCH,
    EXISTS,
    IS_A_DIRECTORY,
    NOT_A_DIRECTORY,
    NOT_FOUND,
    TOO_LARGE,
    RpcError,
)
from nexmdm.platform.types import INLINE_BYTES, PART_BYTES
from nexmdm.platform.zone_row import Change, check_change

_READ_AGAIN: Final = 3  # times, where a file was replaced while it was read

_LOOK: Final = """
    SELECT file_id, kind, size, etag, version, content IS NULL AND size > 0 AS in_parts
    FROM files WHERE zone_id = $1 AND path = $2
"""
_LOCK: Final = f"{_LOOK} FOR UPDATE"
_INSERT: Final = """
    INSERT INTO files (zone_id, path, kind, size, etag, content) VALUES ($1, $2, 'file', $3, $4, $5)
    ON CONFLICT (zone_id, path) DO NOTHING RETURNING file_id, version, modified_at
"""
_REPLACE: Final = """
    UPDATE files SET size = $3, etag = $4, content = $5, version = version + 1, modified_at = clock_timestamp()
    WHERE zone_id = $1 AND path = $2 RETURNING file_id, version, modified_at
"""
_DELETE: Final = "DELETE FROM files WHERE zone_id = $1 AND path = $2 AND kind = 'file' RETURNING size"
_READ: Final = "SELECT file_id, kind, size, etag, content FROM files WHERE zone_id = $1 AND path = $2"
IS_BELOW: Final = """
    SELECT EXISTS (SELECT FROM files WHERE zone_id = $1 AND path > $2 AND path < $3)
        OR EXISTS (SELECT FROM mounts WHERE zone_id = $1 AND active AND mount_point > $2 AND mount_point < $3)
"""


def _decoded(content: str | Bytes) -> bytes:
    if isinstance(content, str):
        return content.encode()
    try:
        return base64.b64decode(content.data, validate=True)
    except (binascii.Error, ValueError):
        raise RpcError(CONTENT_INVALID) from None


def _envelope(content: bytes) -> dict[str, str]:
    return {"__type__": "bytes", "data": base64.b64encode(content).decode()}


async def write(call: Call, given: Write) -> dict[str, Any]:
    """Write a file whole, in place of what was there."""
    path = paths.of_entry(given.path)
    zone_id, platform = call.zone_id, call.platform
    text = given.content if isinstance(given.content, str) else given.content.data
    given_content = await aside(len(text), lambda: _decoded(given.content))
    if len(given_content) > INLINE_BYTES:
        await _refuse_early(call, path, given, len(given_content))
    content = await platform.contents.keep(zone_id, call.caller.zone_uid, given_content)
    try:
        row = await mount_writes.change(
            call, path, partial(_write, call, path, given, content), partial(_write_below, call, given, content)
        )
    except BaseException:
        await platform.contents.let_go(zone_id, content)
        raise
    return {
        "bytes_written": content.size,
        "size": content.size,
        "etag": content.etag,
        "version": row["version"],
        "modified_at": row["modified_at"],
    }


async def _write(call: Call, path: str, given: Write, content: Content, tx: Tx) -> asyncpg.Record:
    """A file of the zone's own."""
    row, growth, is_new = await store(tx, call.zone_id, path, content, partial(_check_conditions, given))
    change = Change(type="write", path=path, used_bytes=growth, files=int(is_new), **around(path, is_new=is_new))
    await call.commit(tx, change)
    return row


async def _write_below(
    call: Call, given: Write, content: Content, tx: Tx, spot: Spot, asked: Asked | None
) -> asyncpg.Record:
    """A file below a mount: it lies in the zone until the backend has got it."""
    theirs = None if spot.change is not None or asked is None else _known(given, asked)

    def check(old: asyncpg.Record | None) -> None:
        if old is None and spot.change == "write":
            raise AskAgainError(spot)
        _check_conditions(given, old or theirs)

    row, growth, is_new = await store(tx, call.zone_id, spot.private, content, check)
    await mount_writes.record(tx, call.zone_id, spot, "write")
    free = mount_writes.around(spot, is_new=is_new)
    await call.commit(tx, Change(type="write", path=spot.path, used_bytes=growth, files=int(is_new), **free))
    return row


def _known(given: Write, asked: Asked) -> dict[str, str] | None:
    """The backend's file, as a row. RpcError: no file can be there; the conditions cannot be judged."""
    if asked.away and (given.if_match is not None or given.if_none_match is not None):
        raise RpcError(BACKEND_UNAVAILABLE)
    if asked.kind == "directory":
        raise RpcError(IS_A_DIRECTORY)
    if asked.below_a_file:
        raise RpcError(NOT_A_DIRECTORY)
    return None if asked.remote is None else {"kind": "file", "etag": mounted.etag_of(asked.remote)}


async def _refuse_early(call: Call, path: str, given: Write, size: int) -> None:
    """Refuse what could not be committed now, before a large content is stored. What is committed decides again."""
    async with call.within() as tx:
        spot = await mounted.look(call, tx, path)
        if spot is not None:
            mount_writes.require_changeable(spot)
        old = await tx.fetchrow(_LOOK, call.zone_id, path if spot is None else spot.private)
        if spot is None or spot.change is not None:
            _check_conditions(given, old)
        growth, is_new = size - (old["size"] if old else 0), old is None
        free = around(path, is_new=is_new) if spot is None else mount_writes.around(spot, is_new=is_new)
        await check_change(tx, call.zone_id, Change(type="write", used_bytes=growth, files=int(is_new), **free))
    if spot is not None and spot.change is None:
        _check_conditions(given, _known(given, await mount_writes.ask(spot)))


def around(path: str, *, is_new: bool) -> dict[str, Any]:
    """What must not be around a file that changes; is_new: that comes."""
    no_mount = {"no_mount_at": [*paths.ancestors(path), path]}
    return {"no_file_at": paths.ancestors(path), "nothing_below": paths.below(path)} | no_mount if is_new else no_mount


async def store(
    tx: asyncpg.Connection[Any],
    zone_id: str,
    path: str,
    content: Content,
    check: Callable[[asyncpg.Record | None], None],
) -> tuple[asyncpg.Record, int, bool]:
    """Make it the content of a file: its row, by how many bytes the zone grows, whether the file is new.

    check: raises where what is there now must not be replaced.
    """
    written = (zone_id, path, content.size, content.etag, content.inline)
    while True:
        old = await tx.fetchrow(_LOCK, zone_id, path)
        check(old)
        row = await tx.fetchrow(_REPLACE if old else _INSERT, *written)
        if row is not None:
            break  # else somebody else has made it since
    await contents.take(tx, zone_id, row["file_id"], content, replace=bool(old and old["in_parts"]))
    return row, content.size - (old["size"] if old else 0), old is None


def _check_conditions(given: Write, old: Mapping[str, Any] | None) -> None:
    if old is not None and old["kind"] == "directory":
        raise RpcError(IS_A_DIRECTORY)
    if given.if_match is not None and (old is None or old["etag"] != given.if_match):
        raise RpcError(ETAG_MISMATCH)
    if old is not None and given.if_none_match == "*":
        raise RpcError(EXISTS)
    if old is not None and given.if_none_match == old["etag"]:
        raise RpcError(ETAG_MISMATCH)


async def read(call: Call, given: Read) -> dict[str, Any]:
    """Read a file whole, or a range of it with its offset, size and etag."""
    path, whole = paths.canonical(given.path), given.offset is None and given.length is None
    for _ in range(_READ_AGAIN):
        size, etag, take = await _opened(call, path)
        offset = min(given.offset or 0, size)
        length = size - offset if given.length is None else min(given.length, size - offset)
        if length > PART_BYTES:
            raise RpcError(TOO_LARGE, limit=PART_BYTES)
        try:
            content = await take(offset, length)
        except FileNotFoundError:
            continue
        envelope = await aside(length, lambda: _envelope(content))  # noqa: B023 - awaited in this very turn
        if whole:
            return envelope
        return {"content": envelope, "offset": offset, "size": size, "etag": etag}
    raise RpcError(BACKEND_UNAVAILABLE)


async def _opened(call: Call, path: str) -> tuple[int, str, Callable[[int, int], Awaitable[bytes]]]:
    """The size and the etag of a file, and what reads some of it. RpcError: there is none; BackendAwayError."""
    async with call.within() as tx:
        spot = await mounted.look(call, tx, path)
        if spot is None or spot.change == "write":
            row = await _existing(tx, call.zone_id, path if spot is None else spot.private)
            parts = () if row["content"] is not None else await contents.parts_of(tx, call.zone_id, row["file_id"])
            return row["size"], row["etag"], partial(_range, call, row["content"], parts)
    remote = await spot.stat()
    return remote.size, mounted.etag_of(remote), partial(spot.read, remote)


async def _existing(tx: asyncpg.Connection[Any], zone_id: str, path: str) -> asyncpg.Record:
    """The row of a file. RpcError: there is none, or a directory."""
    row = await tx.fetchrow(_READ, zone_id, path)
    if row is not None and row["kind"] == "file":
        return row
    if row is not None or path == paths.ROOT or await tx.fetchval(IS_BELOW, zone_id, *paths.below(path)):
        raise RpcError(IS_A_DIRECTORY)
    raise RpcError(NOT_FOUND)


async def _range(call: Call, inline: bytes | None, parts: Sequence[asyncpg.Record], offset: int, length: int) -> bytes:
    if inline is not None:
        return inline[offset : offset + length]
    return await call.platform.contents.read(call.caller.zone_uid, parts, offset, length)


async def delete(call: Call, given: Named) -> dict[str, Any]:
    """Delete a file."""
    path = paths.of_entry(given.path)
    await mount_writes.change(call, path, partial(_delete, call, path), partial(_delete_below, call))
    return {"deleted": True}


async def _delete(call: Call, path: str, tx: Tx) -> None:
    size = await tx.fetchval(_DELETE, call.zone_id, path)
    if size is None:
        await _existing(tx, call.zone_id, path)  # says why; or it was written since
        raise RpcError(NOT_FOUND)
    await call.commit(tx, Change(type="delete", path=path, used_bytes=-size, files=-1, **around(path, is_new=False)))


async def _delete_below(call: Call, tx: Tx, spot: Spot, asked: Asked | None) -> None:
    """A file below a mount. Of one that both sides have agreed on it is known that it is there."""
    if spot.change is None and asked is not None:
        if asked.away and spot.base is None:
            raise RpcError(BACKEND_UNAVAILABLE)
        if not asked.away and asked.remote is None:
            raise RpcError(NOT_FOUND if asked.kind is None else IS_A_DIRECTORY)
    size = await tx.fetchval(_DELETE, call.zone_id, spot.private)
    if size is None and spot.change is not None:
        raise RpcError(NOT_FOUND) if spot.change == "delete" else AskAgainError(spot)
    await mount_writes.record(tx, call.zone_id, spot, "delete")
    spared = {} if size is None else {"used_bytes": -size, "files": -1}
    free = mount_writes.around(spot, is_new=False)
    await call.commit(tx, Change(type="delete", path=spot.path, **spared, **free))


BRICK: Final = "files"
METHODS: Final = (
    Method("write", "writeFile", Write, write, brick=BRICK, alias="write_file"),
    Method("read", "readFile", Read, read, brick=BRICK, alias="read_file"),
    Method("delete", "deleteFile", Named, delete, brick=BRICK, alias="delete_file"),
)
