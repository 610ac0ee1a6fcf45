"""A run brings what is due of one mount to its backend. It has a lease, which ends with its process if not before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson

from nexmdm.kernel.log import emit
from nexmdm.kernel.statements import Statements
from nexmdm.platform import metrics, mount_config
from nexmdm.platform.connector import BackendAwayError
from nexmdm.platform.connectors import Connectors
from nexmdm.platform.contents import Contents
from nexmdm.platform.delivery import IN_CONFLICT, Delivery, Mounted, MovedError
from nexmdm.platform.events import SYNC_RUN
from nexmdm.platform.object_store import StoreAwayError
from nexmdm.platform.settings import PlatformSettings
from nexmdm.platform.types import RunTrigger
from nexmdm.platform.zone_row import within

MOST_PATHS: Final = 1000  # of one run
_RUN_S: Final = 20.0  # after which a run begins no further path
_LEASE_S: Final = 15.0
_RENEW_S: Final = 4.0
_LONGEST_WAIT_S: Final = 60.0  # between two tries of a path

# What a killed run has left ends here.
_END_OLD: Final = """
    UPDATE mount_runs SET finished_at = clock_timestamp(), lease_until = NULL
    WHERE zone_id = $1 AND mount_id = $2 AND finished_at IS NULL AND lease_until < clock_timestamp()
"""
_BEGIN: Final = """
    INSERT INTO mount_runs (zone_id, mount_id, mount_point, trigger, lease_until)
    SELECT z.zone_id, m.mount_id, m.mount_point, $3, clock_timestamp() + make_interval(secs => $4)
    FROM zones AS z JOIN mounts AS m USING (zone_id)
    WHERE z.zone_id = $1 AND z.phase = 'Active' AND m.mount_id = $2 AND m.active
    FOR KEY SHARE OF z
    ON CONFLICT (zone_id, mount_id) WHERE finished_at IS NULL DO NOTHING RETURNING run_id
"""
_RENEW: Final = """
    UPDATE mount_runs SET lease_until = clock_timestamp() + make_interval(secs => $3)
    WHERE zone_id = $1 AND run_id = $2 AND finished_at IS NULL RETURNING run_id
"""
_DUE: Final = f"""
    SELECT path FROM mount_changes AS c
    WHERE zone_id = $1 AND mount_id = $2 AND ($3 OR next_at <= clock_timestamp()) AND NOT {IN_CONFLICT}
    ORDER BY version LIMIT $4
"""  # noqa: S608 - composed of the constant above
_FAILED: Final = """
    UPDATE mount_changes SET attempts = attempts + 1, error = $4,
        next_at = clock_timestamp()
            + make_interval(secs => least($5, 2 ^ least(attempts, 20)) * (0.5 + random() / 2))
    WHERE zone_id = $1 AND mount_id = $2 AND path = ANY ($3::text[])
"""
_FINISH: Final = """
    UPDATE mount_runs SET finished_at = clock_timestamp(), lease_until = NULL, pushed = $4, failed = $5, conflicts = $6,
        remaining = (SELECT count(*) FROM mount_changes WHERE zone_id = $1 AND mount_id = $2)
    WHERE zone_id = $1 AND run_id = $3 AND finished_at IS NULL RETURNING remaining
"""


@dataclass(slots=True)
class Tally:
    """What has become of the paths of a run. `error`: why the last one failed."""

    pushed: int = 0
    failed: int = 0
    conflicts: int = 0
    remaining: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs of any mount, one at a time of each. stop: begin no further path."""

    statements: Statements
    contents: Contents
    connectors: Connectors
    settings: PlatformSettings
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def delivery(self, mount: asyncpg.Record) -> Delivery:
        """Of a mount's row, with the uid of its zone. BackendAwayError: it cannot be asked at all."""
        secret = mount_config.opened(mount["secret"], self.settings.platform_secrets_key)
        config = orjson.loads(mount["config"])
        connector = self.connectors.of(mount["mount_id"], mount["backend_type"], config, secret)
        return Delivery(_mounted(mount), connector, self.statements, self.contents)

    async def run(self, mount: asyncpg.Record, trigger: RunTrigger) -> Tally | None:
        """Bring what is due, by a push also what waits after a failure. None: another run is at it, or the mount gone.

        Raises:
            ZoneEndsError; what the database raises: the lease of the run ends by itself.
        """
        of = _mounted(mount)
        run_id = await self._begin(of, trigger)
        if run_id is None:
            return None
        tally = Tally()
        async with self._kept(of, run_id) as is_lost:
            due = await self._due(of, everything=trigger == "push")
            try:
                delivery = self.delivery(mount)
            except BackendAwayError as away:
                await self._note_failed(of, due, away.reason, tally)
            else:
                await self._deliver(delivery, due, tally, is_lost)
        await self._finish(of, run_id, tally)
        _tell(of, trigger, tally)
        return tally

    async def _begin(self, of: Mounted, trigger: RunTrigger) -> UUID | None:
        async with within(self.statements, of.zone_id) as tx:
            await tx.execute(_END_OLD, of.zone_id, of.mount_id)
            begun: UUID | None = await tx.fetchval(_BEGIN, of.zone_id, of.mount_id, trigger, _LEASE_S)
            return begun

    @asynccontextmanager
    async def _kept(self, of: Mounted, run_id: UUID) -> AsyncIterator[asyncio.Event]:
        """Renew the lease within the block; the event is set when it has been lost."""
        is_lost = asyncio.Event()

        async def renew() -> None:
            while not is_lost.is_set():
                await asyncio.sleep(_RENEW_S)
                with suppress(OSError, asyncpg.PostgresError, TimeoutError):  # the next time, or it is lost
                    async with within(self.statements, of.zone_id) as tx:
                        if await tx.fetchval(_RENEW, of.zone_id, run_id, _LEASE_S) is None:
                            is_lost.set()

        renewing = asyncio.create_task(renew())
        try:
            yield is_lost
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing

    async def _due(self, of: Mounted, *, everything: bool) -> list[str]:
        async with within(self.statements, of.zone_id) as tx:
            rows = await tx.fetch(_DUE, of.zone_id, of.mount_id, everything, MOST_PATHS)
        return [row["path"] for row in rows]

    async def _deliver(self, delivery: Delivery, due: Sequence[str], tally: Tally, is_lost: asyncio.Event) -> None:
        until = asyncio.get_running_loop().time() + _RUN_S
        for place, path in enumerate(due):
            if is_lost.is_set() or self.stop.is_set() or asyncio.get_running_loop().time() > until:
                return
            try:
                match await delivery.deliver(path):
                    case "pushed":
                        tally.pushed += 1
                    case "conflict":
                        tally.conflicts += 1
            except (FileNotFoundError, MovedError):
                continue  # it has changed since, and its newer version comes next
            except StoreAwayError:
                await self._note_failed(delivery.of, due[place:], "objects", tally)
                return
            except BackendAwayError as away:
                whole = await _is_away(delivery)
                await self._note_failed(delivery.of, due[place:] if whole else [path], away.reason, tally)
                if whole:
                    return

    async def _note_failed(self, of: Mounted, due: Sequence[str], reason: str, tally: Tally) -> None:
        tally.failed += len(due)
        tally.error = reason
        async with within(self.statements, of.zone_id) as tx:
            await tx.execute(_FAILED, of.zone_id, of.mount_id, list(due), reason, _LONGEST_WAIT_S)

    async def _finish(self, of: Mounted, run_id: UUID, tally: Tally) -> None:
        counts = tally.pushed, tally.failed, tally.conflicts
        async with within(self.statements, of.zone_id) as tx:
            tally.remaining = await tx.fetchval(_FINISH, of.zone_id, of.mount_id, run_id, *counts) or 0


def _mounted(mount: Any) -> Mounted:
    return Mounted(mount["zone_id"], mount["uid"], mount["mount_id"], mount["mount_point"])


async def _is_away(delivery: Delivery) -> bool:
    """Whether it is the backend that fails, and not one path of it."""
    try:
        await delivery.connector.check()
    except BackendAwayError:
        return True
    return False


def _tell(of: Mounted, trigger: RunTrigger, tally: Tally) -> None:
    metrics.sync_changes.labels("pushed").inc(tally.pushed)
    metrics.sync_changes.labels("failed").inc(tally.failed)
    metrics.sync_changes.labels("conflict").inc(tally.conflicts)
    counts = {"pushed": tally.pushed, "failed": tally.failed, "conflicts": tally.conflicts}
    if any(counts.values()):
        level = "warning" if tally.failed else "info"
        fields = {"zone_id": of.zone_id, "mount_point": of.mount_point, "trigger": trigger, **counts}
        emit(SYNC_RUN, level, **fields, remaining=tally.remaining, error=tally.error)
