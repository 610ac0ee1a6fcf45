"""Changes below mounts: committed in the zone, with what is to be brought to the backend, whether that is there or not.

The backend is asked first, outside of any transaction, where the zone itself does not know what is at the path.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeVar

from nexmdm.platform import mounted, paths
from nexmdm.platform.agent_rows import Tx
from nexmdm.platform.call import Call
from nexmdm.platform.connector import BackendAwayError, Connector, Kind, Remote
from nexmdm.platform.mounted import Spot
from nexmdm.platform.rpc_errors import IS_A_DIRECTORY, MOUNT_CHANGED, MOUNT_READONLY, RpcError
from nexmdm.platform.types import ChangeKind

_ASK_AGAIN: Final = 4  # times, where a change is brought to the backend in between
# What was sent stays: a delivery that was killed is known by it.
_RECORD: Final = """
    INSERT INTO mount_changes (zone_id, mount_id, path, kind) VALUES ($1, $2, $3, $4)
    ON CONFLICT (zone_id, mount_id, path) DO UPDATE SET
        kind = $4, version = DEFAULT, changed_at = clock_timestamp(), next_at = clock_timestamp(), attempts = 0,
        error = NULL
"""
T = TypeVar("T")


class AskAgainError(Exception):
    """What the backend has at this spot is to be known; or the zone has no longer what it had there a moment ago."""

    def __init__(self, spot: Spot) -> None:
        super().__init__("spot")
        self.spot = spot


class Asked(NamedTuple):
    """What the backend has at a path. away: it could not be asked. below_a_file: no file can be there.

    spot: of which the zone knew this when it was asked.
    """

    spot: Spot
    remote: Remote | None = None
    kind: Kind | None = None
    below_a_file: bool = False
    away: bool = False


async def change(
    call: Call,
    path: str,
    own: Callable[[Tx], Awaitable[T]],
    below: Callable[[Tx, Spot, Asked | None], Awaitable[T]],
) -> T:
    """Do `own` where the path is the zone's, else `below`, in a transaction. Asked: where the zone has no change there.

    Raises:
        RpcError: as they do; the mount can only be read; the path is that of a directory; the mount changes.
    """
    asked: Asked | None = None
    for _ in range(_ASK_AGAIN):
        try:
            async with call.changing() as tx:
                spot = await mounted.look(call, tx, path, lock=True)
                if spot is None:
                    return await own(tx)
                require_changeable(spot)
                _require_known(spot, asked)
                return await below(tx, spot, asked)
        except AskAgainError as again:
            asked = await ask(again.spot)
    raise RpcError(MOUNT_CHANGED)


def _require_known(spot: Spot, asked: Asked | None) -> None:
    if spot.change is None and (asked is None or asked.spot != spot):
        raise AskAgainError(spot)


def require_changeable(spot: Spot) -> None:
    """RpcError: the mount can only be read, or the zone has something below the path."""
    if spot.mount.readonly:
        raise RpcError(MOUNT_READONLY)
    if spot.path == spot.mount.point or spot.is_above:
        raise RpcError(IS_A_DIRECTORY)


async def ask(spot: Spot) -> Asked:
    """Ask the backend of a mount what it has at a path that the zone has no change of."""
    below = spot.mount.below(spot.path)
    try:
        connector = spot.mount.connector
        remote = await connector.stat(below)
        if remote is not None:
            return Asked(spot, remote, "file")
        return Asked(spot, None, await connector.kind(below), await _is_below_a_file(connector, below))
    except BackendAwayError:
        return Asked(spot, away=True)


async def _is_below_a_file(connector: Connector, below: str) -> bool:
    for path in reversed(paths.ancestors(f"/{below}")):
        kind = await connector.kind(path[1:])
        if kind is not None:
            return kind == "file"
    return False


async def record(tx: Tx, zone_id: str, spot: Spot, kind: ChangeKind) -> None:
    """Note that the path is to be brought to the backend. The file's row, if any, is locked."""
    await tx.execute(_RECORD, zone_id, spot.mount.mount_id, spot.mount.below(spot.path), kind)


def around(spot: Spot, *, is_new: bool) -> dict[str, Any]:
    """What must not be around a path that changes; is_new: its file is new in the zone."""
    mount, private = spot.mount, spot.private
    within = [path for path in (*paths.ancestors(spot.path), spot.path) if len(path) > len(mount.point)]
    no_mount = {"no_mount_at": within, "no_mount_below": [spot.path]}
    no_file = {"no_file_at": paths.ancestors(private), "nothing_below": paths.below(private)}
    return no_mount | no_file if is_new else no_mount
