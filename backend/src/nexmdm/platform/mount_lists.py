"""What is listed below a mount: what the backend has, with what the zone has not brought there yet, in one order.

Read in rounds. Each ends where the first of its parts was cut off: up to there the others are complete, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from nexmdm.platform.agent_rows import Tx
from nexmdm.platform.call import Call
from nexmdm.platform.connector import PAST, Entry, Remote
from nexmdm.platform.file_lists import CHILDREN, FILES
from nexmdm.platform.mounted import Mounted, etag_of

_GONE: Final = """
    SELECT path FROM mount_changes
    WHERE zone_id = $1 AND mount_id = $2 AND kind = 'delete' AND path > $3 AND path < $4
        AND ($5::integer IS NULL OR strpos(substr(path, $5), '/') = 0)
    ORDER BY path LIMIT $6
"""


class Item(NamedTuple):
    """An entry. key: its place; that of a directory ends with a slash, as what lies in it comes behind that."""

    key: str
    shown: dict[str, Any]


class Segment(NamedTuple):
    """What lies between two paths, both excluded: of a mount, or where `owner` is None of the zone itself."""

    low: str
    high: str
    owner: Mounted | None


def segments(low: str, high: str, owner: Mounted | None, mounts: Sequence[Mounted]) -> Iterator[Segment]:
    """The parts of a range. mounts: those within it, in the order of what lies in them."""
    while mounts:
        first, begin, end = mounts[0], f"{mounts[0].point}/", f"{mounts[0].point}/{PAST}"
        within = [one for one in mounts[1:] if one.point.startswith(begin)]
        yield Segment(low, begin, owner)
        yield from segments(begin, end, first, within)
        low, mounts = end, mounts[1 + len(within) :]
    yield Segment(low, high, owner)


def shown(path: str, remote: Remote | None = None) -> dict[str, Any]:
    """An entry of a list; of a directory without `remote`."""
    return {
        "path": path,
        "type": "directory" if remote is None else "file",
        "size": 0 if remote is None else remote.size,
        "etag": None if remote is None else etag_of(remote),
        "modified_at": None if remote is None else remote.modified_at,
    }


def directory(path: str) -> Item:
    """The item of a directory."""
    return Item(f"{path}/", shown(path))


@dataclass(frozen=True, slots=True)
class Below:
    """What lies in a directory below a mount, or where `recursive` all files below it. high: the end, excluded.

    points: the mount points within, which hide files, and of which a list of a directory has the first directories.
    """

    call: Call
    mount: Mounted
    path: str
    high: str
    recursive: bool
    points: Sequence[str]

    async def items(self, after: str, most: int) -> list[Item]:
        """So many items behind a key, or fewer at the end. BackendAwayError."""
        found: list[Item] = []
        end: str | None = after
        while end is not None and len(found) < most:
            items, end = await self._round(end, most - len(found))
            found += items
        return found[:most]

    async def _round(self, after: str, most: int) -> tuple[list[Item], str | None]:
        """Some items, and up to where they are complete; None: to the end."""
        async with self.call.within() as tx:
            own, gone = await self._own(tx, after, most), await self._gone(tx, after, most)
        behind = "" if after == f"{self.path}/" else self.mount.below(after)
        entries = await self.mount.connector.list(
            self.mount.below(self.path), recursive=self.recursive, after=behind, limit=most
        )
        theirs = [self._item(entry) for entry in entries]
        parts = [item.key for item in own], [item.key for item in theirs], gone
        end = min((part[-1] for part in parts if len(part) >= most), default=self.high)
        leading = [] if self.recursive else first_directories(self.path, self.points)
        hidden = {*gone, *self.points, *leading}
        merged = {item.key: item for item in (*theirs, *own, *map(directory, leading))}
        kept = [merged[key] for key in sorted(merged) if after < key <= end and key < self.high and key not in hidden]
        return kept, end if end < self.high else None

    async def _own(self, tx: Tx, after: str, most: int) -> list[Item]:
        """What the zone has not brought there."""
        root, zone_id = self.mount.private(self.mount.point), self.call.zone_id
        folder = self.mount.private(self.path)
        low, high = root + after[len(self.mount.point) :], f"{folder}0"
        if self.recursive:
            rows = await tx.fetch(FILES, zone_id, low, high, most)
        else:
            rows = await tx.fetch(CHILDREN, zone_id, _next(low, f"{folder}/"), high, most, len(folder) + 2)
        items = []
        for row in rows:
            path = self.mount.point + row["path"][len(root) :]
            is_file = row["type"] == "file"
            entry = {name: row[name] for name in shown(path)} | {"path": path}
            items.append(Item(path if is_file else f"{path}/", entry))
        return items

    async def _gone(self, tx: Tx, after: str, most: int) -> list[str]:
        """The paths of files that the zone has deleted and the backend has still."""
        mount, prefix = self.mount, len(self.mount.below(f"{self.path}/"))
        children = None if self.recursive else prefix + 1
        bounds = mount.below(after), mount.below(f"{self.path}/{PAST}")
        rows = await tx.fetch(_GONE, self.call.zone_id, mount.mount_id, *bounds, children, most)
        return [f"{mount.point}/{row['path']}" for row in rows]

    def _item(self, entry: Entry) -> Item:
        path = f"{self.mount.point}/{entry.path}"
        return directory(path) if entry.remote is None else Item(path, shown(path, entry.remote))


def first_directories(path: str, points: Sequence[str]) -> list[str]:
    """The directories in a directory that lead to mount points below it."""
    begin = path.rstrip("/") + "/"
    return list(dict.fromkeys(begin + point[len(begin) :].partition("/")[0] for point in points))


def _next(low: str, first: str) -> str:
    """The least path behind a key, for `CHILDREN`. first: what begins all of them."""
    if low == first:
        return low
    return f"{low[:-1]}0" if low.endswith("/") else f"{low}\x01"
