"""Brings one change below a mount to its backend: never over what the zone has not seen, and never twice.

What is sent is written down before: bytes of a killed delivery are known for ours when they are found at the backend.
Nothing but the version that was sent leaves the backlog.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

import asyncpg

from nexmdm.kernel.log import emit
from nexmdm.kernel.statements import Statements
from nexmdm.platform import paths
from nexmdm.platform.connector import BackendAwayError, ConflictError, Connector, Remote, same
from nexmdm.platform.contents import Contents, parts_of
from nexmdm.platform.events import SYNC_CONFLICT
from nexmdm.platform.sync_sides import DELETED, Ours, digest_of_theirs
from nexmdm.platform.types import EventType
from nexmdm.platform.zone_row import SNAPSHOT, Change, commit_change, within

Outcome = Literal["pushed", "conflict", "gone"]
BRICK: Final = "sync"
# Of a change `c`: nobody delivers to its path until the conflict has ended.
IN_CONFLICT: Final = """
    EXISTS (SELECT FROM mount_conflicts AS o
        WHERE o.zone_id = c.zone_id AND o.mount_id = c.mount_id AND o.path = c.path AND o.status = 'open')
"""

_FIND: Final = f"""
    SELECT c.kind, c.version, c.sent, b.remote_etag, b.size AS base_size, b.mtime AS base_mtime,
        f.file_id, f.size, f.etag, f.modified_at, f.content
    FROM mount_changes AS c JOIN mounts AS m USING (zone_id, mount_id)
        LEFT JOIN mount_bases AS b USING (zone_id, mount_id, path)
        LEFT JOIN files AS f ON f.zone_id = c.zone_id AND f.path = $4
    WHERE c.zone_id = $1 AND c.mount_id = $2 AND c.path = $3 AND m.active
        AND EXISTS (SELECT FROM bricks WHERE name = '{BRICK}' AND mounted)
        AND $5 = {IN_CONFLICT}
"""  # noqa: S608 - composed of the constants above
_ANNOUNCE: Final = """
    UPDATE mount_changes SET sent = $5 WHERE zone_id = $1 AND mount_id = $2 AND path = $3 AND version = $4
    RETURNING path
"""
# First the mount, as a removal does, then the file, as a write does.
_HOLD_MOUNT: Final = "SELECT mount_id FROM mounts WHERE zone_id = $1 AND mount_id = $2 FOR KEY SHARE"
_HOLD_CHANGE: Final = """
    SELECT path FROM mount_changes WHERE zone_id = $1 AND mount_id = $2 AND path = $3 AND version = $4 FOR UPDATE
"""
_HOLD_FILE: Final = "SELECT file_id FROM files WHERE zone_id = $1 AND path = $2 FOR UPDATE"
_SENT: Final = """
    DELETE FROM mount_changes WHERE zone_id = $1 AND mount_id = $2 AND path = $3 AND version = $4 RETURNING path
"""
_AGREE: Final = """
    INSERT INTO mount_bases (zone_id, mount_id, path, remote_etag, size, mtime, sha256)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (zone_id, mount_id, path) DO UPDATE SET remote_etag = $4, size = $5, mtime = $6, sha256 = $7
"""
_FORGET: Final = "DELETE FROM mount_bases WHERE zone_id = $1 AND mount_id = $2 AND path = $3"
_GIVE_BACK: Final = "DELETE FROM files WHERE zone_id = $1 AND path = $2 RETURNING size"
_OPEN: Final = """
    INSERT INTO mount_conflicts (zone_id, mount_id, mount_point, path, base_etag, base_size, base_mtime,
        ours_etag, ours_size, ours_mtime, theirs_etag, theirs_size, theirs_mtime)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
    ON CONFLICT (zone_id, mount_id, path) WHERE status = 'open' DO NOTHING RETURNING conflict_id
"""


class MovedError(Exception):
    """What was to be agreed on is no longer so: our side has changed since, or the mount is gone."""


@dataclass(frozen=True, slots=True)
class Closing:
    """What ends a conflict: a statement that returns it. newest: our side must not have changed since it was looked at.

    copied: a path below the mount point where ours lies now, too, and as which file.
    """

    statement: str
    arguments: tuple[Any, ...]
    newest: bool = False
    copied: tuple[str, Remote] | None = None


@dataclass(frozen=True, slots=True)
class Mounted:
    """The mount whose changes are brought to its backend."""

    zone_id: str
    zone_uid: UUID
    mount_id: UUID
    mount_point: str

    def path(self, path: str) -> str:
        """One below the mount point, as the zone's callers name it."""
        return f"{self.mount_point}/{path}"


class Delivery:
    """Of one mount. At most one runs at a time: its row of `mount_runs` says so."""

    def __init__(self, mounted: Mounted, connector: Connector, statements: Statements, contents: Contents) -> None:
        self.of, self.connector, self._statements, self._contents = mounted, connector, statements, contents

    async def deliver(self, path: str) -> Outcome:
        """Bring the newest change of a path, unless a conflict of it is open ("gone").

        Raises:
            BackendAwayError, StoreAwayError, ZoneEndsError; FileNotFoundError: it was written to since;
            MovedError: the mount has gone.
        """
        ours = await self.ours(path)
        if ours is None:
            return "gone"
        digest = await self.digest(path, ours)
        base = await self._base(path, ours, digest)
        if not await self._announce(path, ours, digest):
            return "gone"  # it has changed since: its newer version comes next
        try:
            now = await self._send(path, ours, base)
        except ConflictError as met:
            if not await self.holds(path, met.theirs, digest, ours.size):
                return await self._conflict(path, ours, met.theirs)
            now = met.theirs
        await self.settle(path, ours, now, digest)
        return "pushed"

    async def ours(self, path: str, *, in_conflict: bool = False) -> Ours | None:
        """Our side of a path; None where nothing of it is to be brought, or a conflict of it is (not) open."""
        of, private = self.of, paths.private(self.of.mount_id, path)
        async with within(self._statements, of.zone_id, SNAPSHOT) as tx:
            row = await tx.fetchrow(_FIND, of.zone_id, of.mount_id, path, private, in_conflict)
            inline = row is None or row["file_id"] is None or row["content"] is not None
            parts = () if inline else await parts_of(tx, of.zone_id, row["file_id"])
        return None if row is None else Ours(row, parts, self._contents, of.zone_uid)

    async def digest(self, path: str, ours: Ours, *, in_conflict: bool = False) -> str:
        """Of our side. FileNotFoundError: it has changed since; BackendAwayError: our own store has lost its bytes."""
        try:
            return await ours.digest()
        except FileNotFoundError:
            now = await self.ours(path, in_conflict=in_conflict)
            if now is not None and now.version == ours.version:
                raise BackendAwayError("content_lost") from None
            raise

    async def _base(self, path: str, ours: Ours, digest: str) -> Remote | None:
        """What both sides knew last: also what a delivery brought that was killed before it could say so."""
        if ours.sent in (None, digest):
            return ours.base
        theirs = await self.connector.stat(path)
        if same(theirs, ours.base) or not await self.holds(path, theirs, ours.sent):
            return ours.base
        async with within(self._statements, self.of.zone_id) as tx:
            await self._agree(tx, path, theirs, ours.sent)
        return theirs

    async def _announce(self, path: str, ours: Ours, digest: str) -> bool:
        """Write down what is going to be sent; whether our side is still the same."""
        of = self.of
        async with within(self._statements, of.zone_id) as tx:
            return await tx.fetchval(_ANNOUNCE, of.zone_id, of.mount_id, path, ours.version, digest) is not None

    async def _send(self, path: str, ours: Ours, base: Remote | None) -> Remote | None:
        """What is there afterwards. ConflictError."""
        theirs = await self.connector.stat(path)
        if theirs is None and ours.kind == "delete":
            return None
        if not same(theirs, base):
            raise ConflictError(theirs)
        return await self.bring(path, ours, theirs)

    async def bring(self, path: str, ours: Ours, theirs: Remote | None) -> Remote | None:
        """Make the backend's what ours is, in place of `theirs`; what is there then. ConflictError."""
        if ours.kind == "write":
            return await self.connector.write(path, ours.chunks(), theirs)
        if theirs is not None:
            await self.connector.delete(path, theirs)
        return None

    async def holds(self, path: str, theirs: Remote | None, digest: str, size: int | None = None) -> bool:
        """Whether theirs is what has this digest. size: of what has it, where it is known; another is not read."""
        if theirs is None or digest == DELETED:
            return theirs is None and digest == DELETED
        if size not in (None, theirs.size):
            return False
        return await digest_of_theirs(self.connector, path, theirs) == digest

    async def _agree(self, tx: asyncpg.Connection[Any], path: str, now: Remote | None, digest: str | None) -> None:
        key = self.of.zone_id, self.of.mount_id, path
        if await tx.fetchval(_HOLD_MOUNT, *key[:2]) is None:
            raise MovedError
        if now is None:
            await tx.execute(_FORGET, *key)
        else:
            await tx.execute(_AGREE, *key, *now, digest)

    async def settle(
        self,
        path: str,
        ours: Ours,
        now: Remote | None,
        digest: str | None,
        *,
        tells: EventType = "sync.pushed",
        closing: Closing | None = None,
    ) -> None:
        """Write down what both sides agree on; give back the bytes, unless the path has changed since.

        closing: of the conflict that ends with it.

        Raises:
            MovedError: and nothing is written down; ZoneEndsError.
        """
        of, private = self.of, paths.private(self.of.mount_id, path)
        async with within(self._statements, of.zone_id) as tx:
            await self._agree(tx, path, now, digest)
            await tx.fetchval(_HOLD_FILE, of.zone_id, private)
            is_newest = await tx.fetchval(_SENT, of.zone_id, of.mount_id, path, ours.version) is not None
            if closing is not None:
                await self._close(tx, closing, is_newest=is_newest)
            size = await tx.fetchval(_GIVE_BACK, of.zone_id, private) if is_newest else None
            refund = {} if size is None else {"used_bytes": -size, "files": -1}
            event = tells if is_newest or closing is not None else None
            await commit_change(tx, of.zone_id, Change(type=event, path=of.path(path), zone_uid=of.zone_uid, **refund))

    async def _close(self, tx: asyncpg.Connection[Any], closing: Closing, *, is_newest: bool) -> None:
        if closing.newest and not is_newest:
            raise MovedError
        if await tx.fetchval(closing.statement, *closing.arguments) is None:
            raise MovedError
        if closing.copied is not None:
            await self._agree(tx, *closing.copied, None)

    async def close(self, path: str, statement: str, arguments: tuple[Any, ...], *, tells: EventType | None) -> None:
        """Change the conflict of a path, and neither of its sides. MovedError, ZoneEndsError."""
        of = self.of
        async with within(self._statements, of.zone_id) as tx:
            if await tx.fetchval(statement, *arguments) is None:
                raise MovedError
            await commit_change(tx, of.zone_id, Change(type=tells, path=of.path(path), zone_uid=of.zone_uid))

    async def require(self, statement: str, arguments: tuple[Any, ...]) -> None:
        """MovedError: the statement finds nothing."""
        async with within(self._statements, self.of.zone_id) as tx:
            if await tx.fetchval(statement, *arguments) is None:
                raise MovedError

    async def _conflict(self, path: str, ours: Ours, theirs: Remote | None) -> Outcome:
        of = self.of
        sides = (*(ours.base or (None,) * 3), *ours.described, *(theirs or (None,) * 3))
        async with within(self._statements, of.zone_id) as tx:
            await tx.fetchval(_HOLD_MOUNT, of.zone_id, of.mount_id)
            if await tx.fetchval(_HOLD_CHANGE, of.zone_id, of.mount_id, path, ours.version) is None:
                return "gone"  # with its mount, or it is no longer the newest
            conflict_id = await tx.fetchval(_OPEN, of.zone_id, of.mount_id, of.mount_point, path, *sides)
            if conflict_id is None:
                return "gone"
            await commit_change(tx, of.zone_id, Change(type="sync.conflict", path=of.path(path), zone_uid=of.zone_uid))
        emit(SYNC_CONFLICT, "warning", zone_id=of.zone_id, conflict_id=str(conflict_id), mount_point=of.mount_point)
        return "conflict"
