"""The ends of attempts and tasks: told by metrics and log, and brought about where nobody reports one.

A lease that has ended is an attempt that has failed; a task that nobody has claimed by its deadline has failed.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final, Literal

import asyncpg

from nexmdm.kernel.database import Database
from nexmdm.kernel.log import emit
from nexmdm.kernel.settings import Settings, narrow
from nexmdm.kernel.statements import Statements
from nexmdm.platform import metrics, task_states
from nexmdm.platform.background import keep_doing, over_all_zones
from nexmdm.platform.events import TASK_CANCELLED, TASK_COMPLETED, TASK_FAILED, TASK_RETRIED
from nexmdm.platform.settings import PlatformSettings
from nexmdm.platform.task_states import EVENTS
from nexmdm.platform.zone_row import ZoneEndsError

_BRICK: Final = "scheduler"
_BATCH: Final = 100
_LINES: Final = {
    "queued": TASK_RETRIED,
    "completed": TASK_COMPLETED,
    "failed": TASK_FAILED,
    "cancelled": TASK_CANCELLED,
}
_ZONES: Final = """
    (SELECT zone_id FROM tasks JOIN zones USING (zone_id)
        WHERE status = 'running' AND lease_until <= now() AND phase = 'Active' ORDER BY lease_until LIMIT $1)
    UNION
    (SELECT zone_id FROM tasks JOIN zones USING (zone_id)
        WHERE status = 'queued' AND deadline <= now() AND phase = 'Active' ORDER BY deadline LIMIT $1)
"""


def tell_end(
    task: asyncpg.Record, reason: Literal["reported", "lease_expired", "deadline_exceeded"] = "reported"
) -> None:
    """Of a task whose attempt has ended, or which has ended without one."""
    metrics.tasks.labels(EVENTS[task["status"]]).inc()
    fields = {"zone_id": task["zone_id"], "task_id": str(task["task_id"]), "attempt": task["attempt"]}
    emit(_LINES[task["status"]], **fields, reason=reason)


async def end(statements: Statements, *, aging_s: float) -> bool:
    """End leases and tasks whose time is over, of each zone a batch; whether there may be more."""
    async with over_all_zones(statements, _BRICK) as tx:
        zones = [row["zone_id"] for row in await tx.fetch(_ZONES, _BATCH)]
    more = False
    for zone_id in zones:
        try:
            async with over_all_zones(statements, _BRICK) as tx:
                expired = await task_states.expire(tx, zone_id, _BATCH, aging_s)
            metrics.leases_expired.inc(len(expired))
            for task in expired:
                tell_end(task, "lease_expired")
            async with over_all_zones(statements, _BRICK) as tx:
                late = await task_states.miss_deadline(tx, zone_id, _BATCH)
        except ZoneEndsError:
            continue
        for task in late:
            tell_end(task, "deadline_exceeded")
        more |= _BATCH in (len(expired), len(late))
    return more


async def keep_ending(db: Database, settings: Settings, stop: asyncio.Event) -> None:
    """End them until `stop`."""
    own = narrow(settings, PlatformSettings)
    turn = partial(end, aging_s=own.platform_task_aging_s)
    await keep_doing("tasks", db, turn, own.platform_tasks_every_s, stop, _BRICK)
