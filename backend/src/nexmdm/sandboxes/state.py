"""What the broker keeps while the application runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request

from nexmdm.http.runtime import Runtime, runtime
from nexmdm.kernel.settings import narrow
from nexmdm.sandboxes.allocator import Allocator
from nexmdm.sandboxes.counts import PoolCounts
from nexmdm.sandboxes.settings import SandboxSettings
from nexmdm.sandboxes.track_limit import TrackLimit


@dataclass(frozen=True, slots=True)
class Broker:
    """One per process."""

    settings: SandboxSettings
    allocator: Allocator
    track_limit: TrackLimit
    counts: PoolCounts


def broker(request: Request) -> Broker:
    """The broker of the application that serves the request."""
    return runtime(request).state(Broker)


@asynccontextmanager
async def lifespan(running: Runtime) -> AsyncIterator[Broker]:
    """Start what the broker needs; end it after the last request."""
    settings = narrow(running.settings, SandboxSettings)
    async with Allocator(running.db, settings) as allocator:
        yield Broker(
            settings,
            allocator,
            TrackLimit(running.db, settings.limit_track),
            PoolCounts(running.db, settings.stats_every_s),
        )
