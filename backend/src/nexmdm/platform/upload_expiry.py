"""Uploads that have run out: what is not finished is given up, what is finished is forgotten."""

from __future__ import annotations

import asyncio
from typing import Final

from nexmdm.kernel.database import Database
from nexmdm.kernel.log import emit
from nexmdm.kernel.settings import Settings, narrow
from nexmdm.kernel.statements import Statements
from nexmdm.platform import upload_rows
from nexmdm.platform.background import keep_doing, over_all_zones
from nexmdm.platform.events import UPLOAD_EXPIRED
from nexmdm.platform.settings import PlatformSettings
from nexmdm.platform.zone_row import ZoneEndsError

_BRICK: Final = "uploads"
_BATCH: Final = 100

_DUE: Final = """
    SELECT u.zone_id, u.upload_id FROM uploads AS u JOIN zones AS z USING (zone_id)
    WHERE u.expires_at <= clock_timestamp() AND z.phase = 'Active' ORDER BY u.expires_at LIMIT $1
"""
_HOLD: Final = """
    SELECT * FROM uploads WHERE zone_id = $1 AND upload_id = $2 AND expires_at <= clock_timestamp()
    FOR UPDATE SKIP LOCKED
"""


async def expire(statements: Statements) -> bool:
    """End a batch of uploads; whether there may be more."""
    async with over_all_zones(statements, _BRICK) as tx:
        due = await tx.fetch(_DUE, _BATCH)
    ended = 0
    for one in due:
        try:
            async with over_all_zones(statements, _BRICK) as tx:
                row = await tx.fetchrow(_HOLD, one["zone_id"], one["upload_id"])
                if row is None:
                    continue  # another process was here, or its client came back
                await upload_rows.end(tx, one["zone_id"], row)
        except ZoneEndsError:
            continue
        ended += 1
        emit(UPLOAD_EXPIRED, zone_id=one["zone_id"], upload_id=str(one["upload_id"]))
    return ended == _BATCH


async def keep_expiring(db: Database, settings: Settings, stop: asyncio.Event) -> None:
    """End uploads until `stop`."""
    every_s = narrow(settings, PlatformSettings).platform_sweep_every_s
    await keep_doing("uploads", db, expire, every_s, stop, _BRICK)
