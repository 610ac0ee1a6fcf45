"""Directories and trees: made, moved and removed. A directory is there while something lies below it, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from nexmdm.http.types import Shape
from nexmdm.platform import mounted, paths
from nexmdm.platform.call import Call
from nexmdm.platform.files import BRICK, IS_BELOW
from nexmdm.platform.paths import Path
from nexmdm.platform.rpc import Method
from nexmdm.platform.rpc_errors import (
    DIRECTORY_NOT_EMPTY,
    EXISTS,
    NOT_A_DIRECTORY,
    NOT_FOUND,
    PATH_INVALID,
    TOO_LARGE,
    TREE_CHANGED,
    RpcError,
)
from nexmdm.platform.zone_row import Change

_KIND: Final = "SELECT kind FROM files WHERE zone_id = $1 AND path = $2"
_MAKE: Final = """
    INSERT INTO files (zone_id, path, kind) VALUES ($1, $2, 'directory') ON CONFLICT (zone_id, path) DO NOTHING
    RETURNING path
"""
_LOCK_TREE: Final = """
    SELECT path, kind, size FROM files WHERE zone_id = $1 AND (path = $2 OR path > $3 AND path < $4)
    ORDER BY path LIMIT $5 FOR UPDATE
"""
_COUNT_TREE: Final = "SELECT count(*) FROM files WHERE zone_id = $1 AND (path = $2 OR path > $3 AND path < $4)"
_MOVE: Final = """
    UPDATE files SET path = $5 || substr(path, $6)
    WHERE zone_id = $1 AND (path = $2 OR path > $3 AND path < $4) RETURNING path
"""
_REMOVE: Final = """
    DELETE FROM files WHERE zone_id = $1 AND (path = $2 OR path > $3 AND path < $4) RETURNING size, kind
"""


class Rename(Shape):
    """From where to where."""

    old_path: Path
    new_path: Path


class Make(Shape):
    """`parents`: it may be there already, and so need not its parent."""

    path: Path
    parents: bool = False


class Remove(Shape):
    """`recursive`: with everything below."""

    path: Path
    recursive: bool = False


async def is_directory(tx: asyncpg.Connection[Any], zone_id: str, path: str) -> bool:
    """RpcError: a file lies there."""
    if path == paths.ROOT:
        return True
    kind = await tx.fetchval(_KIND, zone_id, path)
    if kind == "file":
        raise RpcError(NOT_A_DIRECTORY)
    return kind is not None or bool(await tx.fetchval(IS_BELOW, zone_id, *paths.below(path)))


async def mkdir(call: Call, given: Make) -> dict[str, Any]:
    """Make a directory that is there without files, too."""
    path = paths.of_entry(given.path)
    async with call.changing() as tx:
        await mounted.refuse_change(call, tx, path)
        if not given.parents:
            parent = paths.ancestors(path)[-1:] or [paths.ROOT]
            if not await is_directory(tx, call.zone_id, parent[0]):
                raise RpcError(NOT_FOUND)
            if await tx.fetchval(IS_BELOW, call.zone_id, *paths.below(path)):
                raise RpcError(EXISTS)
        if await tx.fetchval(_MAKE, call.zone_id, path) is None:
            if not given.parents:
                raise RpcError(EXISTS)
            await is_directory(tx, call.zone_id, path)
            return {"created": False}
        above = paths.ancestors(path)
        change = Change(type="mkdir", path=path, files=1, no_file_at=above, no_mount_at=[*above, path])
        await call.commit(tx, change)
    return {"created": True}


async def _lock_tree(call: Call, tx: asyncpg.Connection[Any], path: str) -> list[asyncpg.Record]:
    """The rows of a file or a tree, locked in the order of their paths. RpcError: none, or too many."""
    most = call.platform.settings.platform_tree_files
    rows: list[asyncpg.Record] = await tx.fetch(_LOCK_TREE, call.zone_id, path, *paths.below(path), most + 1)
    if not rows:
        raise RpcError(NOT_FOUND)
    if len(rows) > most:
        raise RpcError(TOO_LARGE, limit=most)
    return rows


def _check_same(locked: Sequence[object], changed: Sequence[object]) -> None:
    if len(changed) != len(locked):
        raise RpcError(TREE_CHANGED)


async def rename(call: Call, given: Rename) -> dict[str, Any]:
    """Move a file or a tree to where nothing is yet."""
    old, new = paths.of_entry(given.old_path), paths.of_entry(given.new_path)
    if new.startswith(f"{old}/") or new == old:
        raise RpcError(PATH_INVALID, reason="leads into itself")
    zone_id, tree = call.zone_id, (old, *paths.below(old))
    async with call.changing() as tx:
        await mounted.refuse_change(call, tx, old, new, trees=True)
        rows = await _lock_tree(call, tx, old)
        longest = max(len(row["path"].encode()) for row in rows) + len(new.encode()) - len(old.encode())
        if longest > paths.MOST_BYTES:
            raise RpcError(PATH_INVALID, reason=f"longer than {paths.MOST_BYTES} bytes")
        try:
            moved = await tx.fetch(_MOVE, zone_id, *tree, new, len(old) + 1)
        except asyncpg.UniqueViolationError:
            raise RpcError(EXISTS) from None
        _check_same(rows, moved)
        above = paths.ancestors(new)
        ways = [*paths.ancestors(old), old, *above, new]
        change = Change(
            type="rename", path=old, new_path=new, no_file_at=above, no_mount_at=ways, no_mount_below=[old, new]
        )
        await call.commit(tx, change)
        # Both trees are read again, now that the lock on the zone's row keeps everybody else from changing them.
        if await tx.fetchval(_COUNT_TREE, zone_id, *tree):
            raise RpcError(TREE_CHANGED)
        if await tx.fetchval(_COUNT_TREE, zone_id, new, *paths.below(new)) != len(rows):
            raise RpcError(EXISTS)
    return {"renamed": True, "old_path": old, "new_path": new}


async def rmdir(call: Call, given: Remove) -> dict[str, Any]:
    """Remove a directory, or a whole tree."""
    path = paths.of_entry(given.path)
    zone_id, tree = call.zone_id, (path, *paths.below(path))
    async with call.changing() as tx:
        await mounted.refuse_change(call, tx, path, trees=True)
        rows = await _lock_tree(call, tx, path)
        if rows[0]["path"] == path and rows[0]["kind"] == "file":
            raise RpcError(NOT_A_DIRECTORY)
        if not given.recursive and (len(rows) > 1 or rows[0]["path"] != path):
            raise RpcError(DIRECTORY_NOT_EMPTY)
        removed = await tx.fetch(_REMOVE, zone_id, *tree)
        _check_same(rows, removed)  # a statement sees what came since the one before
        size = sum(row["size"] for row in removed)
        way = [*paths.ancestors(path), path]
        change = Change(
            type="rmdir", path=path, used_bytes=-size, files=-len(rows), no_mount_at=way, no_mount_below=[path]
        )
        await call.commit(tx, change)
        if await tx.fetchval(_COUNT_TREE, zone_id, *tree):
            raise RpcError(TREE_CHANGED)
    return {"deleted": True, "files_deleted": sum(row["kind"] == "file" for row in removed)}


METHODS: Final = (
    Method("rename", "renamePath", Rename, rename, brick=BRICK),
    Method("mkdir", "makeDirectory", Make, mkdir, brick=BRICK),
    Method("rmdir", "removeDirectory", Remove, rmdir, brick=BRICK),
)
