"""The deletion of a zone: its finalizers, step by step, each of short transactions that any process may go on with.

The zone's phase, committed before, has closed it to every write. Its row goes last, under keys that refuse it while any
table still has a row of the zone.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

import asyncpg

from nexmdm.kernel.database import Database
from nexmdm.kernel.log import emit
from nexmdm.kernel.settings import Settings, narrow
from nexmdm.kernel.statements import Statements
from nexmdm.platform import metrics
from nexmdm.platform.background import STILL_REFERRED_TO, keep_doing, over_all_zones
from nexmdm.platform.events import ZONE_DELETED
from nexmdm.platform.object_store import ObjectStore, StoreAwayError
from nexmdm.platform.settings import PlatformSettings
from nexmdm.platform.sweeper import sweep
from nexmdm.platform.types import ROOT
from nexmdm.platform.zone_row import Change, commit_change

_BATCH: Final = 2000  # rows of one transaction

_NEXT: Final = """
    SELECT z.zone_id, z.uid, f.position, f.name,
        extract(epoch FROM clock_timestamp() - z.terminating_at)::float8 AS age_s
    FROM zones AS z LEFT JOIN LATERAL (
        SELECT position, name FROM zone_finalizers
        WHERE zone_id = z.zone_id AND finished_at IS NULL ORDER BY position LIMIT 1
    ) AS f ON true
    WHERE z.phase = 'Terminating' ORDER BY z.terminating_at
"""
# Of several processes one works at a zone at a time.
_HOLD: Final = "SELECT zone_id FROM zones WHERE zone_id = $1 AND phase = 'Terminating' FOR NO KEY UPDATE SKIP LOCKED"
# The rows that a step removes go in batches by their keys.
_ROWS: Final = {
    table: f"DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE zone_id = $1 LIMIT $2))"  # noqa: S608
    for table in (
        *("uploads", "files", "mount_changes", "mount_conflicts", "mount_runs", "mount_bases", "mounts"),
        *("agents", "tasks", "events"),
    )
}
_COUNT: Final = "UPDATE zone_finalizers SET removed = removed + $3 WHERE zone_id = $1 AND position = $2"
_FINISH: Final = """
    UPDATE zone_finalizers SET finished_at = clock_timestamp() WHERE zone_id = $1 AND position = $2
"""
_AGAIN: Final = "UPDATE zone_finalizers SET finished_at = NULL WHERE zone_id = $1"
_PINNED: Final = "SELECT EXISTS (SELECT FROM objects WHERE zone_id = $1)"
_KEYS: Final = "UPDATE api_keys SET revoked_at = now() WHERE zone = $1"
_ROW: Final = "DELETE FROM zones WHERE zone_id = $1 AND phase = 'Terminating' RETURNING zone_id"


async def step(statements: Statements, store: ObjectStore) -> bool:
    """Take each zone that is being deleted one step on; whether there is more to do at once."""
    async with over_all_zones(statements) as tx:
        zones = await tx.fetch(_NEXT)
    metrics.zones_terminating.set(len(zones))
    metrics.oldest_terminating.set(max((0.0, *(zone["age_s"] for zone in zones))))
    more = False
    for zone in zones:
        try:
            more |= await _advance(statements, store, zone)
        except StoreAwayError:
            continue  # which has been logged; other zones go on
    return more


async def _advance(statements: Statements, store: ObjectStore, zone: asyncpg.Record) -> bool:
    """One batch of the zone's step; whether to go on at once."""
    name = zone["name"]
    if name in _ROWS:
        return await _remove_rows(statements, zone)
    if name == "objects":
        return await _remove_objects(statements, store, zone)
    return await _remove_zone(statements, store, zone)


async def _remove_rows(statements: Statements, zone: asyncpg.Record) -> bool:
    async with over_all_zones(statements) as tx:
        if await tx.fetchval(_HOLD, zone["zone_id"]) is None:
            return False
        removed = int((await tx.execute(_ROWS[zone["name"]], zone["zone_id"], _BATCH)).rpartition(" ")[2])
        await _note(tx, zone, removed, finished=removed < _BATCH)
    return True


async def _remove_objects(statements: Statements, store: ObjectStore, zone: asyncpg.Record) -> bool:
    """Ends when no pin lives, and nothing lies below the zone's prefix."""
    removed, more = await sweep(statements, store, zone["zone_id"])
    async with over_all_zones(statements) as tx:
        if await tx.fetchval(_HOLD, zone["zone_id"]) is None:
            return False
        pinned = await tx.fetchval(_PINNED, zone["zone_id"])
        if not pinned:
            await store.remove_zone(zone["uid"])
        await _note(tx, zone, removed, finished=not pinned)
    return more or not pinned


async def _remove_zone(statements: Statements, store: ObjectStore, zone: asyncpg.Record) -> bool:
    """The keys, and the row itself; the log of the root zone tells of it."""
    zone_id = zone["zone_id"]
    try:
        async with over_all_zones(statements) as tx:
            if await tx.fetchval(_HOLD, zone_id) is None:
                return False
            await tx.execute(_KEYS, zone_id)
            await tx.fetchval(_ROW, zone_id)
            await store.remove_zone(zone["uid"])
            await commit_change(tx, ROOT, Change(type="zone.deleted", path=zone_id))
    except STILL_REFERRED_TO:  # rows that came late, or a table that no step knows: all steps once more
        async with over_all_zones(statements) as tx:
            await tx.execute(_AGAIN, zone_id)
        return False
    emit(ZONE_DELETED, zone_id=zone_id)
    return False


async def _note(tx: asyncpg.Connection[Any], zone: asyncpg.Record, removed: int, *, finished: bool) -> None:
    await tx.execute(_COUNT, zone["zone_id"], zone["position"], removed)
    if finished:
        await tx.execute(_FINISH, zone["zone_id"], zone["position"])


async def keep_deleting(db: Database, settings: Settings, stop: asyncio.Event) -> None:
    """Delete zones until `stop`."""
    own = narrow(settings, PlatformSettings)
    turn = partial(step, store=ObjectStore.of(own))
    await keep_doing("teardown", db, turn, own.platform_teardown_every_s, stop)
