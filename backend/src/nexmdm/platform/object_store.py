"""Where large contents lie: in a directory or a bucket, each object under a name that is never used again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol, Self
from uuid import UUID

from obstore.exceptions import BaseError

from nexmdm.kernel.events import DEPENDENCY_AWAY
from nexmdm.kernel.log import emit
from nexmdm.platform.object_bucket import Bucket
from nexmdm.platform.object_directory import Directory
from nexmdm.platform.settings import PlatformSettings


class StoreAwayError(Exception):
    """The store cannot be read or written. What was to be put may still arrive."""


class Objects(Protocol):
    """What a directory and a bucket do, each with errors of its own."""

    async def put(self, zone: UUID, name: UUID, content: bytes | memoryview) -> None: ...

    async def get(self, zone: UUID, name: UUID, offset: int, length: int) -> bytes: ...

    async def delete(self, zone: UUID, name: UUID) -> None: ...

    async def remove_zone(self, zone: UUID) -> None: ...


class ObjectStore:
    """Objects by zone (its uid) and id. Each call is bounded in time, and raises StoreAwayError."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._objects: Objects = Bucket(url) if "://" in url else Directory(url)
        self._timeout_s = timeout_s

    @classmethod
    def of(cls, settings: PlatformSettings) -> Self:
        """The store that is configured."""
        return cls(settings.platform_storage_url, settings.platform_storage_timeout_s)

    async def put(self, zone: UUID, name: UUID, content: bytes | memoryview) -> None:
        """Durable when it returns."""
        async with self._available():
            await self._objects.put(zone, name, content)

    async def get(self, zone: UUID, name: UUID, offset: int, length: int) -> bytes:
        """Some of an object; nothing where it is gone."""
        async with self._available():
            return await self._objects.get(zone, name, offset, length)

    async def delete(self, zone: UUID, name: UUID) -> None:
        """Gone for good, whether or not it was there."""
        async with self._available():
            await self._objects.delete(zone, name)

    async def remove_zone(self, zone: UUID) -> None:
        """Remove whatever is left of a zone."""
        async with self._available():
            await self._objects.remove_zone(zone)

    @asynccontextmanager
    async def _available(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except (OSError, BaseError) as error:
            emit(DEPENDENCY_AWAY, "error", dependency="objects", error=type(error).__name__)
            raise StoreAwayError from error
