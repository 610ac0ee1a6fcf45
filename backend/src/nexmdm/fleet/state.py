"""What the fleet keeps while the application runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request

from nexmdm.fleet.device_tokens import DeviceTokens
from nexmdm.fleet.heartbeat_writer import HeartbeatWriter
from nexmdm.fleet.settings import FleetSettings
from nexmdm.http.runtime import Runtime, runtime
from nexmdm.kernel.bcrypt_pool import Hashing
from nexmdm.kernel.settings import narrow


@dataclass(frozen=True, slots=True)
class Fleet:
    """One per process."""

    settings: FleetSettings
    tokens: DeviceTokens
    writer: HeartbeatWriter


def fleet(request: Request) -> Fleet:
    """The fleet of the application that serves the request."""
    return runtime(request).state(Fleet)


@asynccontextmanager
async def lifespan(running: Runtime) -> AsyncIterator[Fleet]:
    """Start what the fleet needs; end it after the last request."""
    settings = narrow(running.settings, FleetSettings)
    hashing = Hashing(settings.bcrypt_cost)
    try:
        tokens = DeviceTokens(running.db, hashing, settings.token_cache_size)
        async with HeartbeatWriter(running.db, settings.max_waiting_heartbeats) as writer:
            yield Fleet(settings, tokens, writer)
    finally:
        hashing.close()
