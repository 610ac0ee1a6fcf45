"""The ways to end a conflict. Each moves bytes only over what the caller has been shown, then closes it at once.

What is given up is what the caller has said: `keep_local` gives up theirs, `keep_remote` ours. What compares decides
for the side that has a file, and keeps both where neither is ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

import asyncpg

from nexmdm.platform import paths
from nexmdm.platform.connector import ConflictError, Remote
from nexmdm.platform.delivery import Closing, Delivery
from nexmdm.platform.sync_sides import Ours
from nexmdm.platform.types import Strategy

Kept = Literal["keep_local", "keep_remote", "keep_both"]

_CLOSE: Final = """
    UPDATE mount_conflicts SET status = 'resolved', strategy = $4, resolution = $5, copy_path = $6,
        resolved_at = clock_timestamp(), lease_until = NULL
    WHERE zone_id = $1 AND conflict_id = $2 AND lease_until = $3 AND status = 'open' RETURNING conflict_id
"""
# Bytes move only for as long as nobody else may have the conflict.
_STILL_HELD: Final = """
    SELECT conflict_id FROM mount_conflicts
    WHERE zone_id = $1 AND conflict_id = $2 AND lease_until = $3 AND lease_until > clock_timestamp() AND status = 'open'
"""
_LEAVE: Final = """
    UPDATE mount_conflicts SET strategy = $4
    WHERE zone_id = $1 AND conflict_id = $2 AND lease_until = $3 AND status = 'open' RETURNING conflict_id
"""


@dataclass(frozen=True, slots=True)
class Sides:
    """Both, as they are and were shown. theirs None: the backend has no file there."""

    ours: Ours
    theirs: Remote | None


def chosen(strategy: Strategy, sides: Sides) -> Kept | Literal["manual", "abort"]:
    """What a strategy comes to for these sides."""
    match strategy:
        case "manual" | "abort" | "keep_local" | "keep_remote":
            return strategy
    ours, theirs = Remote(*sides.ours.described) if sides.ours.kind == "write" else None, sides.theirs
    if ours is None or theirs is None:
        return "keep_local" if theirs is None else "keep_remote"
    if strategy == "keep_both":
        return strategy
    mine, yours = (ours.size, theirs.size) if strategy == "keep_larger" else (ours.modified_at, theirs.modified_at)
    if mine == yours:
        return "keep_both"
    return "keep_local" if mine > yours else "keep_remote"  # type: ignore[operator] # of one kind, both


async def resolve_as(strategy: Strategy, row: asyncpg.Record, sides: Sides, delivery: Delivery) -> str | None:
    """End a conflict that is held; how. None: it stays open, for it is left to somebody (`manual`).

    Raises:
        ConflictError, MovedError, FileNotFoundError: a side has moved since; BackendAwayError, StoreAwayError,
        ZoneEndsError.
    """
    way = chosen(strategy, sides)
    path, ours = row["path"], sides.ours
    held = row["zone_id"], row["conflict_id"], row["lease_until"], strategy
    if way == "manual":
        await delivery.close(path, _LEAVE, held, tells=None)
        return None
    if way == "abort":
        await delivery.close(path, _CLOSE, (*held, way, None), tells="sync.resolved")
    elif way == "keep_local":
        digest = await delivery.digest(path, ours, in_conflict=True)
        await delivery.require(_STILL_HELD, held[:3])
        now = await delivery.bring(path, ours, sides.theirs)
        closing = Closing(_CLOSE, (*held, way, None))
        await delivery.settle(path, ours, now, digest, tells="sync.resolved", closing=closing)
    else:
        copied = await _copied(row, sides, delivery) if way == "keep_both" else None
        shown = None if copied is None else delivery.of.path(copied[0])
        closing = Closing(_CLOSE, (*held, way, shown), newest=True, copied=copied)
        await delivery.settle(path, ours, sides.theirs, None, tells="sync.resolved", closing=closing)
    return way


async def _copied(row: asyncpg.Record, sides: Sides, delivery: Delivery) -> tuple[str, Remote]:
    """Where ours now lies beside theirs, below the mount point, and as what file. Raises as `resolve_as` does."""
    ours = sides.ours
    digest = await delivery.digest(row["path"], ours, in_conflict=True)
    for moment in (row["created_at"], datetime.now(UTC)):
        copy = copy_of(delivery.of.mount_point, row["path"], moment, str(row["mount_id"]))
        await delivery.require(_STILL_HELD, (row["zone_id"], row["conflict_id"], row["lease_until"]))
        try:
            return copy, await delivery.connector.write(copy, ours.chunks(), None)
        except ConflictError as met:
            # Of a try that was killed; else it is another's, and stays.
            if met.theirs is not None and await delivery.holds(copy, met.theirs, digest, ours.size):
                return copy, met.theirs
    raise ConflictError(sides.theirs)


def copy_of(mount_point: str, path: str, moment: datetime, mount_id: str) -> str:
    """The path of the copy of ours: beside that of the conflict, or as near as a path of the zone can be; shortened."""
    parent, slash, name = path.rpartition("/")
    tail = f".sync-conflict-{moment.astimezone(UTC):%Y%m%dT%H%M%S%fZ}-{mount_id[:8]}"
    while parent and len(f"{mount_point}/{parent}/{tail}".encode()) > paths.MOST_BYTES:
        parent, slash, _ = parent.rpartition("/")
    room = min(paths.MOST_OF_SEGMENT, paths.MOST_BYTES - len(f"{mount_point}/{parent}{slash}".encode())) - len(tail)
    short = name.encode()[: max(0, room)].decode(errors="ignore")
    return f"{parent}{slash}{short}{tail}"
