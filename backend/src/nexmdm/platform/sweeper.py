"""Removes objects that no file has: of writes that were refused or killed, of files that are gone or replaced."""

from __future__ import annotations

import asyncio
from typing import Final

import asyncpg

from nexmdm.kernel.database import Database
from nexmdm.kernel.log import emit
from nexmdm.kernel.settings import Settings, narrow
from nexmdm.kernel.statements import Statements
from nexmdm.platform import metrics
from nexmdm.platform.background import STILL_REFERRED_TO, BrickUnmountedError, keep_doing, over_all_zones
from nexmdm.platform.events import OBJECTS_SWEPT
from nexmdm.platform.object_store import ObjectStore, StoreAwayError
from nexmdm.platform.settings import PlatformSettings
from nexmdm.platform.types import Brick

_BRICK: Final = "files"
_BATCH: Final = 200

_PATIENCE: Final = 5  # failures in one batch; the others are drawn by lot, so that bad ones hold nobody up for long

_DUE: Final = """
    SELECT * FROM (
        SELECT o.zone_id, o.object_id, z.uid FROM objects AS o JOIN zones AS z USING (zone_id)
        WHERE o.pinned_until <= clock_timestamp() - make_interval(secs => $3)
            AND ($1::text IS NULL OR o.zone_id = $1)
        ORDER BY o.pinned_until LIMIT 10 * $2
    ) AS due ORDER BY random() LIMIT $2
"""
# The row goes first: the key of a file that has the object refuses it, whatever was seen before.
_DELETE: Final = """
    DELETE FROM objects WHERE zone_id = $1 AND object_id = $2 AND pinned_until <= clock_timestamp() RETURNING object_id
"""


async def sweep(
    statements: Statements,
    store: ObjectStore,
    zone_id: str | None = None,
    *,
    after_s: float = 0.0,
    brick: Brick | None = None,
) -> tuple[int, bool]:
    """Remove a batch of objects, of one zone or of all; how many went, and whether there may be more.

    after_s: for how long nothing has had them, so that a backup may copy what it has found in the database.
    brick: the part that has to be mounted for it; the deletion of a zone waits for none.
    """
    async with over_all_zones(statements, brick) as tx:
        due = await tx.fetch(_DUE, zone_id, _BATCH, after_s)
    swept = failed = 0
    for row in due:
        try:
            swept += await _remove(statements, store, row, brick)
        except BrickUnmountedError:
            break
        except StoreAwayError:
            failed += 1
            if failed == _PATIENCE:
                break  # it is the store, not an object
    if swept:
        metrics.objects_swept.inc(swept)
        emit(OBJECTS_SWEPT, objects=swept)
    return swept, len(due) == _BATCH and swept > 0


async def _remove(statements: Statements, store: ObjectStore, row: asyncpg.Record, brick: Brick | None) -> bool:
    """The row, then the object, then the commit: what a crash leaves is a row that is swept again."""
    try:
        async with over_all_zones(statements, brick) as tx:
            if await tx.fetchval(_DELETE, row["zone_id"], row["object_id"]) is None:
                return False  # another sweeper was here
            await store.delete(row["uid"], row["object_id"])
    except STILL_REFERRED_TO:
        return False
    return True


async def keep_sweeping(db: Database, settings: Settings, stop: asyncio.Event) -> None:
    """Sweep until `stop`."""
    own = narrow(settings, PlatformSettings)
    store = ObjectStore.of(own)

    async def turn(statements: Statements) -> bool:
        return (await sweep(statements, store, after_s=own.platform_sweep_after_s, brick=_BRICK))[1]

    await keep_doing("sweeper", db, turn, own.platform_sweep_every_s, stop, _BRICK)
