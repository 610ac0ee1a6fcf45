"""Files below mounts: which mount a path is of, what the zone has not brought to its backend yet, what lies there now.

The longest mount point that begins a path is its mount's. A change that the backend has not got is read from the zone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final
from uuid import UUID

import asyncpg
import orjson

from nexmdm.kernel.problems import Problem
from nexmdm.platform import mount_config, paths
from nexmdm.platform.agent_rows import Tx
from nexmdm.platform.call import Call
from nexmdm.platform.connector import Connector, Kind, Remote
from nexmdm.platform.problems import BRICK_UNMOUNTED
from nexmdm.platform.rpc_errors import IS_A_DIRECTORY, MOUNT_READONLY, MOUNT_UNSUPPORTED, NOT_FOUND, RpcError
from nexmdm.platform.state import Platform
from nexmdm.platform.types import ChangeKind

_FIELDS: Final = """
    mount_id, mount_point, backend_type, config, secret, readonly,
    (SELECT mounted FROM bricks WHERE name = 'mounts') AS serves
"""
_OF_PATH: Final = f"""
    SELECT {_FIELDS} FROM mounts WHERE zone_id = $1 AND active AND mount_point = ANY ($2::text[])
    ORDER BY length(mount_point) DESC LIMIT 1
"""  # noqa: S608 - composed of the constant above
_HOLD: Final = f"{_OF_PATH} FOR KEY SHARE OF mounts"
_STATE: Final = """
    SELECT (SELECT kind FROM mount_changes WHERE zone_id = $1 AND mount_id = $2 AND path = $3) AS change,
        EXISTS (SELECT FROM files WHERE zone_id = $1 AND path > $4 AND path < $5)
            OR EXISTS (SELECT FROM mounts WHERE zone_id = $1 AND active AND mount_point > $6 AND mount_point < $7)
            AS is_above,
        (SELECT remote_etag FROM mount_bases WHERE zone_id = $1 AND mount_id = $2 AND path = $3) AS base
"""
_BELOW: Final = f"""
    SELECT {_FIELDS} FROM mounts WHERE zone_id = $1 AND active AND mount_point > $2 AND mount_point < $3
    ORDER BY mount_point || '/'
"""  # noqa: S608 - as above


@dataclass(frozen=True, slots=True)
class Mounted:
    """A mount as a transaction has found it."""

    mount_id: UUID
    point: str
    readonly: bool
    _row: asyncpg.Record = field(compare=False)
    _platform: Platform = field(compare=False)

    @property
    def connector(self) -> Connector:
        """Its backend. Problem: the part is unmounted; BackendAwayError: the settings do not allow it any more."""
        own, row = self._platform, self._row
        if not row["serves"]:
            raise Problem(BRICK_UNMOUNTED)
        secret = mount_config.opened(row["secret"], own.settings.platform_secrets_key)
        return own.connectors.of(self.mount_id, row["backend_type"], orjson.loads(row["config"]), secret)

    def below(self, path: str) -> str:
        """The path as its backend knows it."""
        return path[len(self.point) + 1 :]

    def private(self, path: str) -> str:
        """Where in `files` a change of the path lies."""
        return paths.private(self.mount_id, self.below(path))


@dataclass(frozen=True, slots=True)
class Spot:
    """A path below a mount, or its point. change: what the backend has not got; is_above: the zone has something below.

    base: the etag of the backend's file when both sides last agreed on it.

    Each method asks the backend, outside of any transaction. BackendAwayError.
    """

    mount: Mounted
    path: str
    change: ChangeKind | None
    is_above: bool
    base: str | None

    @property
    def private(self) -> str:
        """Where in `files` its change lies."""
        return self.mount.private(self.path)

    async def kind(self) -> Kind | None:
        """What is there."""
        if self.path == self.mount.point or self.is_above:
            return "directory"
        if self.change is not None:
            return "file" if self.change == "write" else None
        return await self.mount.connector.kind(self.mount.below(self.path))

    async def stat(self) -> Remote:
        """The file that the backend has there. RpcError: there is none, or a directory."""
        if self.path == self.mount.point or self.is_above:
            raise RpcError(IS_A_DIRECTORY)
        remote = await self.mount.connector.stat(self.mount.below(self.path)) if self.change is None else None
        if remote is not None:
            return remote
        raise RpcError(NOT_FOUND if await self.kind() is None else IS_A_DIRECTORY)

    async def read(self, remote: Remote, offset: int, length: int) -> bytes:
        """Some bytes of this very state of a file. FileNotFoundError: it is another by now."""
        if length == 0:
            return b""
        try:
            content, of = await self.mount.connector.read(self.mount.below(self.path), offset, length)
        except IsADirectoryError:
            raise FileNotFoundError from None
        if of.etag != remote.etag or len(content) != length:
            raise FileNotFoundError
        return content


async def find(call: Call, tx: Tx, path: str, *, lock: bool = False) -> Mounted | None:
    """The mount that a path is of, its point included; None of the zone's own files. lock: it stays until the end.

    Raises:
        Problem: the part is unmounted.
    """
    if not call.has_mounts:
        return None
    row = await tx.fetchrow(_HOLD if lock else _OF_PATH, call.zone_id, [*paths.ancestors(path), path])
    if row is not None and not row["serves"]:
        raise Problem(BRICK_UNMOUNTED)
    return None if row is None else _mounted(call, row)


async def all_below(call: Call, tx: Tx, path: str) -> list[Mounted]:
    """The mounts whose points lie below a path, in the order of what lies in them."""
    if not call.has_mounts:
        return []
    return [_mounted(call, row) for row in await tx.fetch(_BELOW, call.zone_id, *paths.below(path))]


def _mounted(call: Call, row: asyncpg.Record) -> Mounted:
    return Mounted(row["mount_id"], row["mount_point"], row["readonly"], row, call.platform)


async def refuse_change(call: Call, tx: Tx, *changed: str, trees: bool = False) -> None:
    """RpcError: one of the paths is a mount's; or of trees, a mount lies below it. Problem: as of `find`."""
    for path in changed if call.has_mounts else ():
        mount = await find(call, tx, path)
        if mount is not None:
            raise RpcError(MOUNT_READONLY if mount.readonly else MOUNT_UNSUPPORTED)
        if trees and await all_below(call, tx, path):
            raise RpcError(MOUNT_UNSUPPORTED)


async def look(call: Call, tx: Tx, path: str, *, lock: bool = False) -> Spot | None:
    """As `find`, with what the zone itself knows of the path."""
    mount = await find(call, tx, path, lock=lock)
    if mount is None:
        return None
    around = *paths.below(mount.private(path)), *paths.below(path)
    row = await tx.fetchrow(_STATE, call.zone_id, mount.mount_id, mount.below(path), *around)
    assert row is not None
    return Spot(mount, path, row["change"], row["is_above"], row["base"])


def etag_of(remote: Remote) -> str:
    """The etag of a file at a backend, as callers see it."""
    return sha256(remote.etag.encode()).hexdigest()
