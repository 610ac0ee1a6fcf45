"""Mounts of a zone over JSON-RPC: added, looked at, listed, saved, loaded and removed.

Each is a row, which every request finds: no process keeps a list of its own. The root is the zone's own files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson

from nexmdm.kernel.log import emit
from nexmdm.platform import mount_config, paths
from nexmdm.platform.agent_rows import Tx
from nexmdm.platform.auth import AGENT
from nexmdm.platform.call import Call
from nexmdm.platform.events import MOUNT_ADDED, MOUNT_REMOVED, MOUNT_SAVED
from nexmdm.platform.mount_shapes import CONNECTORS, Listed, NewMount, Nothing, OneMount, OwnersOf, RemovedMount
from nexmdm.platform.rpc import Method
from nexmdm.platform.rpc_errors import (
    MOUNT_HAS_CHANGES,
    MOUNT_NOT_FOUND,
    ROLE_FORBIDDEN,
    RpcError,
)
from nexmdm.platform.zone_row import Change

BRICK: Final = "mounts"
_MOST_LISTED: Final = 1000  # beside the root

_SHOWN: Final = """
    mount_id, mount_point, backend_type, readonly, priority, saved, active, description, created_at
"""
_ALL: Final = f"""
    SELECT {_SHOWN} FROM mounts WHERE zone_id = $1 AND CASE WHEN $2 THEN saved ELSE active END
        AND mount_point = coalesce($3, mount_point)
    ORDER BY priority DESC, mount_point LIMIT {_MOST_LISTED}
"""  # noqa: S608 - composed of the constant above
_ROOT: Final = """
    SELECT uid AS mount_id, '/' AS mount_point, 'native' AS backend_type, false AS readonly, 0 AS priority,
        true AS saved, true AS active, NULL AS description, created_at
    FROM zones WHERE zone_id = $1
"""
_HOLD: Final = (
    "SELECT mount_id, backend_type, saved, active FROM mounts WHERE zone_id = $1 AND mount_point = $2 FOR UPDATE"
)
_INSERT: Final = """
    INSERT INTO mounts (zone_id, mount_point, owner, backend_type, config, secret, readonly, priority, description)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (zone_id, mount_point) DO NOTHING RETURNING mount_id
"""
# A statement of its own, after the lock: what was added while it waited is seen.
_IS_BUSY: Final = """
    SELECT EXISTS (SELECT FROM mount_changes WHERE zone_id = $1 AND mount_id = $2)
        OR EXISTS (SELECT FROM mount_conflicts WHERE zone_id = $1 AND mount_id = $2 AND status = 'open')
"""
_FORGET_CHANGES: Final = "DELETE FROM mount_changes WHERE zone_id = $1 AND mount_id = $2"
_FORGET_CONFLICTS: Final = "DELETE FROM mount_conflicts WHERE zone_id = $1 AND mount_id = $2 AND status = 'open'"
_FORGET_FILES: Final = "DELETE FROM files WHERE zone_id = $1 AND path > $2 AND path < $3 RETURNING size"
_SET: Final = "UPDATE mounts SET saved = $3, active = $4 WHERE zone_id = $1 AND mount_id = $2"
_DELETE: Final = "DELETE FROM mounts WHERE zone_id = $1 AND mount_id = $2"
_OWNER: Final = "SELECT mount_id, owner FROM mounts WHERE zone_id = $1 AND mount_point = $2 AND active"


def _point(call: Call, given: str) -> str:
    """The path of a mount. RpcError: the caller is an agent, or no mount can be there."""
    _require_member(call)
    return paths.of_entry(given)


def _require_member(call: Call) -> None:
    if call.caller.role == AGENT:
        raise RpcError(ROLE_FORBIDDEN)


async def add(call: Call, given: NewMount) -> str:
    """Mount a backend at a path, in place of what is mounted there; the id of the mount."""
    point = _point(call, given.mount_point)
    own = call.platform
    config, secret = await mount_config.judged(given.backend_type, given.backend_config, own.settings, own.connectors)
    shown = (given.readonly, given.priority, given.description)
    row = (point, call.caller.name, given.backend_type, orjson.dumps(config).decode(), secret, *shown)
    async with call.changing() as tx:
        while True:
            replaced = await _take_away(call, tx, point)
            mount_id: UUID | None = await tx.fetchval(_INSERT, call.zone_id, *row)
            if mount_id is not None:
                break  # else somebody else has mounted there since
        if replaced:
            await call.commit(tx, Change(type="mount.removed", path=point))
        await call.commit(tx, Change(type="mount.added", path=point, no_file_at=paths.ancestors(point)))
    if replaced:
        emit(MOUNT_REMOVED, zone_id=call.zone_id, mount_point=point)
    emit(MOUNT_ADDED, zone_id=call.zone_id, mount_point=point, backend_type=given.backend_type)
    return str(mount_id)


async def _take_away(call: Call, tx: Tx, point: str) -> bool:
    """Make room for a mount; whether an active one was there. RpcError: it has changes."""
    old = await tx.fetchrow(_HOLD, call.zone_id, point)
    if old is None:
        return False
    await _require_idle(call, tx, old["mount_id"])
    await tx.execute(_DELETE, call.zone_id, old["mount_id"])
    return bool(old["active"])


async def _require_idle(call: Call, tx: Tx, mount_id: UUID) -> None:
    if await tx.fetchval(_IS_BUSY, call.zone_id, mount_id):
        raise RpcError(MOUNT_HAS_CHANGES)


async def remove(call: Call, given: RemovedMount) -> dict[str, Any]:
    """End a mount: what lay at its path is seen again, what lies at its backend stays there."""
    point = _point(call, given.mount_point)
    async with call.changing() as tx:
        old = await tx.fetchrow(_HOLD, call.zone_id, point)
        if old is None or not old["active"]:
            return {"removed": False, "directory_deleted": False, "errors": []}
        sizes = await _forgotten(call, tx, old["mount_id"]) if given.force else []
        await _require_idle(call, tx, old["mount_id"])
        await _set(call, tx, old, saved=old["saved"], active=False)
        change = Change(type="mount.removed", path=point, used_bytes=-sum(sizes), files=-len(sizes))
        await call.commit(tx, change)
    emit(MOUNT_REMOVED, zone_id=call.zone_id, mount_point=point)
    return {"removed": True, "directory_deleted": False, "errors": []}


async def _forgotten(call: Call, tx: Tx, mount_id: UUID) -> Sequence[int]:
    """Give up what its backend has not got; the sizes of the files that go."""
    for statement in (_FORGET_CHANGES, _FORGET_CONFLICTS):
        await tx.execute(statement, call.zone_id, mount_id)
    rows = await tx.fetch(_FORGET_FILES, call.zone_id, *paths.below(paths.private(mount_id)))
    return [row["size"] for row in rows]


async def _set(call: Call, tx: Tx, row: asyncpg.Record, *, saved: bool, active: bool) -> None:
    if saved or active:
        await tx.execute(_SET, call.zone_id, row["mount_id"], saved, active)
    else:
        await tx.execute(_DELETE, call.zone_id, row["mount_id"])


async def _known(call: Call, tx: Tx, point: str, *, which: str) -> asyncpg.Record:
    """The row of a mount that is saved, or active. RpcError: there is none."""
    row = await tx.fetchrow(_HOLD, call.zone_id, point)
    if row is None or not row[which]:
        raise RpcError(MOUNT_NOT_FOUND)
    return row


async def save(call: Call, given: OneMount) -> str:
    """Keep a mount for when it has been removed; its id."""
    point = _point(call, given.mount_point)
    async with call.changing() as tx:
        row = await _known(call, tx, point, which="active")
        if row["saved"]:
            return str(row["mount_id"])
        await _set(call, tx, row, saved=True, active=True)
        await call.commit(tx, Change(type="mount.saved", path=point))
    emit(MOUNT_SAVED, zone_id=call.zone_id, mount_point=point)
    return str(row["mount_id"])


async def load(call: Call, given: OneMount) -> str:
    """Mount again what was saved; its id."""
    point = _point(call, given.mount_point)
    async with call.changing() as tx:
        row = await _known(call, tx, point, which="saved")
        if row["active"]:
            return str(row["mount_id"])
        await _set(call, tx, row, saved=True, active=True)
        await call.commit(tx, Change(type="mount.added", path=point, no_file_at=paths.ancestors(point)))
    emit(MOUNT_ADDED, zone_id=call.zone_id, mount_point=point, backend_type=row["backend_type"])
    return str(row["mount_id"])


async def forget(call: Call, given: OneMount) -> bool:
    """Keep a mount no longer; one that is active stays until it is removed. Whether it was kept."""
    point = _point(call, given.mount_point)
    async with call.changing() as tx:
        row = await tx.fetchrow(_HOLD, call.zone_id, point)
        if row is None or not row["saved"]:
            return False
        await _set(call, tx, row, saved=False, active=row["active"])
        await call.commit(tx, Change(type=None))
    return True


async def _rows(call: Call, *, saved: bool = False, point: str | None = None) -> list[dict[str, Any]]:
    """Mounts as they are shown; the root is the last of the active ones."""
    _require_member(call)
    async with call.within() as tx:
        rows = await tx.fetch(_ALL, call.zone_id, saved, point)
        if not saved and point in (None, paths.ROOT):
            rows.append(await tx.fetchrow(_ROOT, call.zone_id))
    return [dict(row) | {"mount_id": str(row["mount_id"])} for row in rows]


async def get(call: Call, given: OneMount) -> dict[str, Any] | None:
    """Look at an active mount; null where there is none."""
    rows = await _rows(call, point=paths.canonical(given.mount_point))
    return rows[0] if rows else None


async def has(call: Call, given: OneMount) -> bool:
    """Whether something is mounted there."""
    return await get(call, given) is not None


async def list_active(call: Call, _given: Nothing) -> list[dict[str, Any]]:
    """The active mounts, the root last."""
    return await _rows(call)


async def list_saved(call: Call, _given: Nothing) -> list[dict[str, Any]]:
    """The saved mounts."""
    return await _rows(call, saved=True)


async def list_connectors(call: Call, given: Listed) -> list[dict[str, Any]]:
    """The kinds of backends, each with the schema of its configuration."""
    _require_member(call)
    return [one for one in CONNECTORS if given.category in (None, one["category"])]


async def list_owners(call: Call, given: OwnersOf) -> list[dict[str, str]]:
    """Whose a mount is: the key's that added it. Nothing of what is no mount."""
    _require_member(call)
    kind, path = given.object
    point = paths.canonical(path)
    async with call.within() as tx:
        row = await tx.fetchrow(_OWNER, call.zone_id, point) if kind == "file" else None
    if row is None:
        return []
    subject = {"subject_type": "key", "subject_id": row["owner"]}
    owned = {"relation": "direct_owner", "object_type": kind, "object_id": point}
    return [{"tuple_id": str(row["mount_id"]), **subject, **owned}]


METHODS: Final = (
    Method("add_mount", "addMount", NewMount, add, brick=BRICK),
    Method("get_mount", "getMount", OneMount, get, brick=BRICK),
    Method("has_mount", "hasMount", OneMount, has, brick=BRICK),
    Method("list_mounts", "listMounts", Nothing, list_active, brick=BRICK),
    Method("remove_mount", "removeMount", RemovedMount, remove, brick=BRICK),
    Method("save_mount", "saveMount", OneMount, save, brick=BRICK),
    Method("list_saved_mounts", "listSavedMounts", Nothing, list_saved, brick=BRICK),
    Method("load_mount", "loadMount", OneMount, load, brick=BRICK),
    Method("delete_saved_mount", "deleteSavedMount", OneMount, forget, brick=BRICK),
    Method("list_connectors", "listConnectors", Listed, list_connectors, brick=BRICK),
    Method("rebac_list_tuples", "listOwners", OwnersOf, list_owners, brick=BRICK),
)
