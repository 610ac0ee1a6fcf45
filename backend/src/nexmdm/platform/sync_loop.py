"""The loop of the part `sync`: within seconds each change below a mount is on its way to the backend.

Mounts are delivered to beside each other, so that a backend that hangs holds up nobody else's changes.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final
from uuid import UUID

import asyncpg

from nexmdm.kernel.database import Database
from nexmdm.kernel.settings import Settings, narrow
from nexmdm.kernel.statements import Statements
from nexmdm.platform import metrics
from nexmdm.platform.background import keep_doing, over_all_zones
from nexmdm.platform.connectors import Connectors
from nexmdm.platform.contents import Contents
from nexmdm.platform.delivery import BRICK, IN_CONFLICT
from nexmdm.platform.object_store import ObjectStore
from nexmdm.platform.settings import PlatformSettings
from nexmdm.platform.sync_runs import Runner
from nexmdm.platform.zone_row import ZoneEndsError

_AT_ONCE: Final = 8  # mounts
_CONNECTIONS: Final = 2
_PATIENCE_S: Final = 5.0  # at the end, for the paths that are on their way

_DUE: Final = f"""
    SELECT zone_id, m.mount_id, m.mount_point, m.backend_type, m.config, m.secret, z.uid
    FROM mounts AS m JOIN zones AS z USING (zone_id) JOIN (
        SELECT zone_id, mount_id, min(next_at) AS next_at FROM mount_changes AS c
        WHERE next_at <= clock_timestamp() AND NOT {IN_CONFLICT}
        GROUP BY zone_id, mount_id
    ) AS due USING (zone_id, mount_id)
    WHERE z.phase = 'Active' AND m.active AND NOT m.readonly AND NOT m.mount_id = ANY ($1::uuid[]) AND NOT EXISTS (
        SELECT FROM mount_runs AS r WHERE r.zone_id = m.zone_id AND r.mount_id = m.mount_id
            AND r.finished_at IS NULL AND r.lease_until >= clock_timestamp())
    ORDER BY due.next_at LIMIT $2
"""  # noqa: S608 - composed of the constant above
_BACKLOG: Final = f"""
    SELECT count(*) AS changes,
        coalesce(extract(epoch FROM clock_timestamp() - min(changed_at)), 0)::float8 AS age_s,
        (SELECT count(*) FROM mount_conflicts WHERE status = 'open') AS conflicts
    FROM mount_changes AS c WHERE NOT {IN_CONFLICT}
"""  # noqa: S608 - as above


class Deliveries:
    """The runs that this process has begun."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._running: dict[UUID, asyncio.Task[None]] = {}

    async def turn(self, statements: Statements) -> bool:
        """Begin a run of each mount that something is due of. Raises what a run has failed of."""
        failures = self._reap()
        async with over_all_zones(statements, BRICK) as tx:
            mounts = await tx.fetch(_DUE, list(self._running), _AT_ONCE - len(self._running))
            backlog = await tx.fetchrow(_BACKLOG)
        metrics.sync_backlog.set(backlog["changes"])
        metrics.sync_oldest_change.set(backlog["age_s"])
        metrics.sync_conflicts_open.set(backlog["conflicts"])
        for mount in mounts:
            self._running[mount["mount_id"]] = asyncio.create_task(self._run(mount))
        for failure in failures:
            raise failure
        return False

    async def _run(self, mount: asyncpg.Record) -> None:
        with suppress(ZoneEndsError):
            await self._runner.run(mount, "loop")

    def _reap(self) -> list[Exception]:
        over = {mount_id: task for mount_id, task in self._running.items() if task.done()}
        for mount_id in over:
            del self._running[mount_id]
        return [error for task in over.values() if isinstance(error := task.exception(), Exception)]

    async def end(self) -> None:
        """Let what is on its way arrive, for a while."""
        self._runner.stop.set()
        if self._running:
            _, late = await asyncio.wait(self._running.values(), timeout=_PATIENCE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)


async def keep_delivering(db: Database, settings: Settings, stop: asyncio.Event) -> None:
    """Deliver until `stop`."""
    own = narrow(settings, PlatformSettings)
    async with Statements(db, _CONNECTIONS) as statements:
        contents = Contents(statements, ObjectStore.of(own), own.platform_pin_s)
        deliveries = Deliveries(Runner(statements, contents, Connectors(own), own))
        try:
            await keep_doing("sync", db, deliveries.turn, own.platform_sync_every_s, stop, BRICK)
        finally:
            await deliveries.end()
