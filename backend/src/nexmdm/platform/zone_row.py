"""The row of a zone: how a transaction sees a zone, and how each change of what is in it ends.

A change locks its own rows first, in the order of their keys, and then commits the change here.
The lock on the zone's row, held until the commit, makes the events' numbers gapless and equal to the order of the
commits, keeps the quota to the byte, and puts every write before or after the zone's deletion.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from uuid import UUID

import asyncpg

from nexmdm.kernel.statements import Statements
from nexmdm.platform.types import EventType

SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"  # for `within`
_FITS: Final = """
    phase = 'Active'
        AND ($2::bigint + $3::bigint <= 0 OR max_storage_bytes IS NULL
            OR used_bytes + reserved_bytes + $2 + $3 <= max_storage_bytes)
        AND ($4::bigint <= 0 OR max_files IS NULL OR files + $4 <= max_files)
        AND ($5::bigint <= 0 OR max_uploads_open IS NULL OR uploads_open + $5 <= max_uploads_open)
        AND uid = coalesce($6::uuid, uid)
        AND ($7::bigint <= 0 OR max_agents IS NULL OR agents + $7 <= max_agents)
        AND ($8::bigint <= 0 OR max_tasks_queued IS NULL OR tasks_queued + $8 <= max_tasks_queued)
"""
_CHARGE: Final = f"""
    UPDATE zones SET
        used_bytes = used_bytes + $2, reserved_bytes = reserved_bytes + $3, files = files + $4,
        uploads_open = uploads_open + $5, agents = agents + $7, tasks_queued = tasks_queued + $8 + $10,
        event_seq = event_seq + $9, event_at = greatest(event_at, clock_timestamp())
    WHERE zone_id = $1 AND {_FITS}
    RETURNING event_seq, event_at
"""  # noqa: S608 - composed of the constant above
_WOULD_FIT: Final = f"SELECT 1 FROM zones WHERE zone_id = $1 AND {_FITS}"  # noqa: S608 - as above
_BLOCKED: Final = """
    SELECT CASE
        WHEN EXISTS (SELECT FROM files WHERE zone_id = $1 AND path = ANY ($2::text[]) AND kind = 'file')
            THEN 'not_a_directory'
        WHEN EXISTS (SELECT FROM files WHERE zone_id = $1 AND path > $3 AND path < $4) THEN 'is_a_directory'
        WHEN EXISTS (SELECT FROM mounts WHERE zone_id = $1 AND active AND mount_point > $3 AND mount_point < $4)
            THEN 'is_a_directory'
        WHEN EXISTS (SELECT FROM mounts WHERE zone_id = $1 AND active AND mount_point = ANY ($5::text[])) THEN 'mounted'
        WHEN EXISTS (
            SELECT FROM mounts, unnest($6::text[]) AS tree (path)
            WHERE zone_id = $1 AND active AND starts_with(mount_point, tree.path || '/')) THEN 'mounted'
    END AS reason
"""
# A statement of its own: the one that waited for the row still sees the world before the wait.
_APPEND: Final = f"""
    WITH blocked AS ({_BLOCKED}), appended AS (
        INSERT INTO events (zone_id, sequence_number, occurred_at, type, path, new_path, agent_id)
        SELECT $1, $7, $8, $9, $10, $11, $12 FROM blocked WHERE reason IS NULL
    )
    SELECT reason FROM blocked
"""  # noqa: S608 - composed of the constant above
_APPEND_MANY: Final = """
    INSERT INTO events (zone_id, sequence_number, occurred_at, type, path, agent_id)
    SELECT $1, $2 - cardinality($4::text[]) + event.number, $3, event.type, event.path, $6
    FROM unnest($4::text[], $5::text[]) WITH ORDINALITY AS event (type, path, number)
"""
_WHY_NOT: Final = """
    SELECT phase,
        CASE
            WHEN max_files IS NOT NULL AND $2::bigint > 0 AND files + $2 > max_files THEN 'max_files'
            WHEN max_uploads_open IS NOT NULL AND $3::bigint > 0 AND uploads_open + $3 > max_uploads_open
                THEN 'max_uploads_open'
            WHEN max_agents IS NOT NULL AND $5::bigint > 0 AND agents + $5 > max_agents THEN 'max_agents'
            WHEN max_tasks_queued IS NOT NULL AND $6::bigint > 0 AND tasks_queued + $6 > max_tasks_queued
                THEN 'max_tasks_queued'
            ELSE 'max_storage_bytes'
        END AS limit_name
    FROM zones WHERE zone_id = $1 AND uid = coalesce($4::uuid, uid)
"""


class ZoneEndsError(Exception):
    """The zone is being deleted, or is gone."""


class QuotaExceededError(Exception):
    """The zone's `limit` does not allow the change."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


class BlockedPathError(Exception):
    """`reason`: not_a_directory, where a file lies above the path; is_a_directory, where something lies below it.

    mounted: it is the path of a mount, which has come since the transaction has looked.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a transaction has changed, as one event (none where `type` is None); with its cost, refunds being negative.

    zone_uid: of the zone that is meant, and not of a later one of its id. no_file_at: paths of directories that a file
    was put into. nothing_below: the range below a new file, its ends excluded. tasks_requeued: no limit refuses them.
    no_mount_at: paths of files and what they lie in. no_mount_below: paths of trees.
    """

    type: EventType | None
    zone_uid: UUID | None = None
    path: str = ""
    new_path: str | None = None
    agent_id: str | None = None
    used_bytes: int = 0
    reserved_bytes: int = 0
    files: int = 0
    uploads_open: int = 0
    agents: int = 0
    tasks_queued: int = 0
    tasks_requeued: int = 0
    no_file_at: Sequence[str] = ()
    nothing_below: tuple[str, str] = ("", "")
    no_mount_at: Sequence[str] = ()
    no_mount_below: Sequence[str] = ()

    @property
    def cost(self) -> tuple[int, int, int, int, UUID | None, int, int]:
        """As the statements want it."""
        bytes_ = self.used_bytes, self.reserved_bytes
        return *bytes_, self.files, self.uploads_open, self.zone_uid, self.agents, self.tasks_queued

    @property
    def free(self) -> tuple[list[str], str, str, list[str], list[str]]:
        """What must not be there, as the statements want it."""
        return list(self.no_file_at), *self.nothing_below, list(self.no_mount_at), list(self.no_mount_below)


def within(
    statements: Statements, zone_id: str, begin: str = "BEGIN"
) -> AbstractAsyncContextManager[asyncpg.Connection[Any]]:
    """A transaction that sees and changes this zone alone. The id has to be one: it becomes part of a statement.

    No plan reads a whole table: those made for small tables stay with the connection while the tables grow.
    """
    return statements.transaction(f"{begin}; SET LOCAL enable_seqscan = off; SET LOCAL nexmdm.zone = '{zone_id}'")


async def commit_change(tx: asyncpg.Connection[Any], zone_id: str, change: Change) -> int:
    """Charge the zone and append the event; the caller commits and does nothing else before. Its sequence number.

    Raises:
        ZoneEndsError, QuotaExceededError, BlockedPathError: the transaction has to be undone.
    """
    charged = await _charge(tx, zone_id, change, int(change.type is not None))
    number: int = charged["event_seq"]
    if change.type is None:
        return number
    event = (number, charged["event_at"], change.type, change.path, change.new_path, change.agent_id)
    reason = await tx.fetchval(_APPEND, zone_id, *change.free, *event)
    if reason is not None:
        raise BlockedPathError(reason)
    return number


async def commit_changes(
    tx: asyncpg.Connection[Any], zone_id: str, change: Change, events: Sequence[tuple[EventType, str]]
) -> None:
    """As `commit_change`, of a change that is several events: the type and the path of each, in their order."""
    charged = await _charge(tx, zone_id, change, len(events))
    types, paths = [kind for kind, _ in events], [path for _, path in events]
    await tx.execute(_APPEND_MANY, zone_id, charged["event_seq"], charged["event_at"], types, paths, change.agent_id)


async def _charge(tx: asyncpg.Connection[Any], zone_id: str, change: Change, events: int) -> asyncpg.Record:
    charged = await tx.fetchrow(_CHARGE, zone_id, *change.cost, events, change.tasks_requeued)
    if charged is None:
        await _refuse(tx, zone_id, change)
    return charged


async def check_change(tx: asyncpg.Connection[Any], zone_id: str, change: Change) -> None:
    """Raise what `commit_change` would, as things are now; it changes and locks nothing."""
    if await tx.fetchval(_WOULD_FIT, zone_id, *change.cost) is None:
        await _refuse(tx, zone_id, change)
    if reason := await tx.fetchval(_BLOCKED, zone_id, *change.free):
        raise BlockedPathError(reason)


async def _refuse(tx: asyncpg.Connection[Any], zone_id: str, change: Change) -> NoReturn:
    _, _, *counted = change.cost
    why = await tx.fetchrow(_WHY_NOT, zone_id, *counted)
    if why is None or why["phase"] != "Active":
        raise ZoneEndsError
    raise QuotaExceededError(why["limit_name"])
