"""What lies in a directory, or anywhere below it, through mounts too, in the order of the bytes of the paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, NamedTuple

import asyncpg
from pydantic import Field

from nexmdm.http import cursors
from nexmdm.http.types import Maybe, Shape, Whole
from nexmdm.platform import mounted, paths
from nexmdm.platform.agent_rows import Tx
from nexmdm.platform.call import Call
from nexmdm.platform.file_lists import CHILDREN, FILES
from nexmdm.platform.file_shapes import Named
from nexmdm.platform.files import BRICK
from nexmdm.platform.mount_lists import Below, first_directories, segments, shown
from nexmdm.platform.mounted import Mounted
from nexmdm.platform.paths import Path
from nexmdm.platform.rpc import Method
from nexmdm.platform.rpc_errors import CURSOR_INVALID, NOT_A_DIRECTORY, NOT_FOUND, RpcError
from nexmdm.platform.trees import is_directory

_FIELDS: Final = ("path", "type", "size", "etag", "modified_at")
_KNOWN: Final = """
    SELECT path FROM unnest($2::text[]) AS asked (path) WHERE EXISTS (
        SELECT FROM files AS f WHERE f.zone_id = $1 AND (
            f.path = asked.path COLLATE "C"
            OR f.path > (asked.path || '/') COLLATE "C" AND f.path < (asked.path || '0') COLLATE "C"))
"""


class List(Shape):
    """The root by default."""

    path: Path = paths.ROOT
    recursive: bool = False
    limit: Annotated[int, Whole(1, 1000)] = 1000
    cursor: Maybe[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,1400}$")]] = None


class Found(NamedTuple):
    """An entry, and the place behind which the next page could begin."""

    entry: dict[str, Any]
    place: str


async def exists(call: Call, given: Named) -> bool:
    """Whether there is a file or a directory."""
    path = paths.canonical(given.path)
    async with call.within() as tx:
        spot = await mounted.look(call, tx, path)
        if spot is None:
            try:
                return await is_directory(tx, call.zone_id, path)
            except RpcError:
                return True
    return await spot.kind() is not None


async def listing(call: Call, given: List) -> dict[str, Any]:
    """What lies in a directory, or anywhere below it, in the order of the bytes of the paths."""
    path = paths.canonical(given.path)
    first, last = paths.below(path)
    after = first if given.cursor is None else _decoded(given.cursor, first, last)
    found = await _found(call, path, given.recursive, after, last, given.limit + 1)
    shown_, more = found[: given.limit], len(found) > given.limit
    next_cursor = cursors.encode(shown_[-1].place) if more else None
    return {"entries": [one.entry for one in shown_], "next_cursor": next_cursor}


async def _found(call: Call, path: str, recursive: bool, after: str, last: str, most: int) -> list[Found]:
    """So many behind a place, or fewer at the end. RpcError: there is no such directory; BackendAwayError."""
    async with call.within() as tx:
        spot, mounts = await mounted.look(call, tx, path), await mounted.all_below(call, tx, path)
        points = [one.point for one in mounts]
        if spot is None:
            if not await is_directory(tx, call.zone_id, path):
                raise RpcError(NOT_FOUND)
            if not recursive:
                return await _children(call, tx, path, after, most, points)
            if not mounts:
                return await _files(call, tx, after, last, most)
    if spot is not None:
        kind = await spot.kind()
        if kind != "directory":
            raise RpcError(NOT_FOUND if kind is None else NOT_A_DIRECTORY)
        if not recursive:
            items = await Below(call, spot.mount, path, last, recursive, points).items(after, most)
            return [Found(item.shown, item.key) for item in items]
    return await _through_mounts(call, spot.mount if spot else None, path, after, most, mounts)


async def _files(call: Call, tx: Tx, after: str, last: str, most: int, hidden: Sequence[str] = ()) -> list[Found]:
    """The zone's own, anywhere between two paths. hidden: where something is mounted."""
    rows = await tx.fetch(FILES, call.zone_id, after, last, most + len(hidden))
    kept = [row for row in rows if row["type"] == "directory" or row["path"] not in hidden]
    return [Found(_shown(row), row["path"]) for row in kept[:most]]


async def _children(call: Call, tx: Tx, path: str, after: str, most: int, points: Sequence[str]) -> list[Found]:
    """What lies in a directory of the zone's own, and the directories there that lead to mounts."""
    first, last = paths.below(path)
    begins = len("/" if path == paths.ROOT else first) + 1
    rows = await tx.fetch(CHILDREN, call.zone_id, after, last, most, begins)
    leading = first_directories(path, points)
    placed = []
    for row in rows:
        is_row = row["after"].endswith("\x01")
        entry = shown(row["path"]) if row["path"] in leading and row["type"] == "file" else _shown(row)
        placed.append((row["path"] if is_row else f"{row['path']}/", Found(entry, row["after"])))
    if leading:
        known = {row["path"] for row in await tx.fetch(_KNOWN, call.zone_id, leading)}
        placed += [
            (f"{one}/", Found(shown(one), f"{one}0")) for one in leading if one not in known and f"{one}/" >= after
        ]
    return [found for _, found in sorted(placed, key=lambda one: one[0])][:most]


async def _through_mounts(
    call: Call, owner: Mounted | None, path: str, after: str, most: int, mounts: Sequence[Mounted]
) -> list[Found]:
    """All files below a directory, of the zone and of its mounts."""
    found: list[Found] = []
    first, last = paths.below(path)
    points = [one.point for one in mounts]
    for low, high, of in segments(first, last, owner, mounts):
        lacking, begin = most - len(found), max(low, after)
        if lacking <= 0 or begin >= high:
            continue
        if of is None:
            async with call.within() as tx:
                found += await _files(call, tx, begin, high, lacking, points)
        else:
            folder = path if of is owner else of.point
            items = await Below(call, of, folder, high, True, points).items(begin, lacking)
            found += [Found(item.shown, item.key) for item in items]
    return found


def _shown(row: asyncpg.Record) -> dict[str, Any]:
    return {name: row[name] for name in _FIELDS}


def _decoded(cursor: str, first: str, last: str) -> str:
    """The path after which the next page begins. RpcError: it is not of this list."""
    try:
        after = cursors.decode(cursor)
    except ValueError:
        after = ""
    if not first.encode() < after.encode() < last.encode() or "\0" in after:
        raise RpcError(CURSOR_INVALID)
    return after


METHODS: Final = (
    Method("list", "listDirectory", List, listing, brick=BRICK),
    Method("exists", "pathExists", Named, exists, brick=BRICK),
)
