"""The retention run: removes what is past its period, by the policies that the services declare.

It decides no schedule: `nexmdm retention run` and the worker call it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from nexmdm.http.service import RetentionPolicy, Service
from nexmdm.jobs.events import RETENTION_CLEANUP
from nexmdm.kernel.database import Operation
from nexmdm.kernel.deletion import deletion
from nexmdm.kernel.log import emit
from nexmdm.kernel.settings import Limit, Settings

_SPENT_LIMITS: Final = text(
    """
    DELETE FROM rate_limits WHERE (rule, subject) IN (
        SELECT rule, subject FROM rate_limits WHERE window_start < :cutoff LIMIT :batch FOR UPDATE SKIP LOCKED)
    """
)


@dataclass(frozen=True, slots=True)
class Cleanup:
    """What one run removed of one table. For heartbeats `deleted` is an estimate where days are large."""

    entity: str
    cutoff: datetime
    deleted: int
    latency_ms: float
    complete: bool = True


async def run(engine: AsyncEngine, settings: Settings, services: Sequence[Service], now: datetime) -> list[Cleanup]:
    """Let each service prepare, then remove what is past its period at `now` (in UTC). Safe beside another run."""
    for service in services:
        if service.prepare is not None:
            await service.prepare(engine, now)
    policies = [*(policy for service in services for policy in service.retention), _RATE_LIMITS]
    return [await _apply(engine, settings, policy, now) for policy in policies]


async def _apply(engine: AsyncEngine, settings: Settings, policy: RetentionPolicy, now: datetime) -> Cleanup:
    cutoff = policy.cutoff(settings, now)
    result = await _clean(policy.entity, cutoff, lambda: policy.remove(engine, cutoff, now))
    if policy.logged:
        level = "info" if result.complete else "warning"
        fields = {"deleted": result.deleted, "latency_ms": result.latency_ms}
        emit(RETENTION_CLEANUP, level, entity=policy.entity, cutoff=_text(cutoff), **fields)
    return result


async def _clean(entity: str, cutoff: datetime, work: Callable[[], Awaitable[tuple[int, bool]]]) -> Cleanup:
    with Operation("cleanup", entity, cutoff=_text(cutoff)) as operation:
        deleted, complete = await work()
        operation.keys["deleted"] = deleted
    return Cleanup(entity, cutoff, deleted, operation.latency_ms, complete)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _spent(settings: Settings, now: datetime) -> datetime:
    windows = [value.window_s for _, value in settings if isinstance(value, Limit)]
    return now - 2 * timedelta(seconds=max(windows))  # a window counts until the one after it has ended


_RATE_LIMITS: Final = RetentionPolicy("rate_limits", _spent, deletion(_SPENT_LIMITS), logged=False)
