"""What the broker keeps while the application runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass

from fastapi import Request

from nexmdm.http.runtime import Runtime, runtime
from nexmdm.kernel.settings import narrow
from nexmdm.kernel.statements import Statements
from nexmdm.sandboxes.allocator import Allocator
from nexmdm.sandboxes.counts import PoolCounts
from nexmdm.sandboxes.decisions import Decisions
from nexmdm.sandboxes.provider import Provider
from nexmdm.sandboxes.settings import SandboxSettings
from nexmdm.sandboxes.track_limit import TrackLimit
from nexmdm.sandboxes.waiting import WaitingQueue


@dataclass(frozen=True, slots=True)
class Broker:
    """One per process."""

    settings: SandboxSettings
    statements: Statements
    queue: WaitingQueue
    track_limit: TrackLimit
    counts: PoolCounts
    provider: Provider | None  # None: not configured


def broker(request: Request) -> Broker:
    """The broker of the application that serves the request."""
    return runtime(request).state(Broker)


@asynccontextmanager
async def lifespan(running: Runtime) -> AsyncIterator[Broker]:
    """Start what the broker needs; end it after the last request."""
    settings = narrow(running.settings, SandboxSettings)
    async with AsyncExitStack() as stack:
        statements = await stack.enter_async_context(Statements(running.db, settings.db_pool_size))
        decisions = await stack.enter_async_context(Decisions(running.db, settings))
        allocator = await stack.enter_async_context(Allocator(decisions))
        queue = WaitingQueue(running.db, decisions, allocator, settings, running.stopping)
        await stack.enter_async_context(queue)
        provider = None
        if settings.provider_url is not None:
            provider = await stack.enter_async_context(aclosing(Provider(settings)))
        yield Broker(
            settings,
            statements,
            queue,
            TrackLimit(running.db, settings.limit_track),
            PoolCounts(running.db, settings.stats_every_s),
            provider,
        )
