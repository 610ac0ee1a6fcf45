"""The two sides of a path below a mount: what the zone has of it, and what the backend has; each has a digest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from typing import Final
from uuid import UUID

import asyncpg

from nexmdm.platform.connector import BackendAwayError, Connector, Remote, same
from nexmdm.platform.contents import Contents
from nexmdm.platform.types import INLINE_BYTES, PART_BYTES

DELETED: Final = "deleted"  # the digest of a side that has no file


class Ours:
    """Our side of a path, as it was when it was looked at. `described`: its etag, size and time, or none of them."""

    def __init__(
        self, row: asyncpg.Record, parts: Sequence[asyncpg.Record], contents: Contents, zone_uid: UUID
    ) -> None:
        self._row, self._parts, self._contents, self._zone_uid = row, parts, contents, zone_uid
        self.kind, self.version, self.sent = row["kind"], row["version"], row["sent"]
        etag = row["remote_etag"]
        self.base = None if etag is None else Remote(etag, row["base_size"], row["base_mtime"])
        is_write = self.kind == "write"
        self.described = (row["etag"], row["size"], row["modified_at"]) if is_write else (None, None, None)
        self.size: int | None = self.described[1]

    async def chunks(self) -> AsyncIterator[bytes]:
        """Its bytes. FileNotFoundError: they are no longer there; StoreAwayError."""
        if self._row["file_id"] is None:
            raise FileNotFoundError
        if self._row["content"] is not None:
            yield self._row["content"]
            return
        for offset in range(0, self._row["size"], PART_BYTES):
            length = min(PART_BYTES, self._row["size"] - offset)
            yield await self._contents.read(self._zone_uid, self._parts, offset, length)

    async def digest(self) -> str:
        """SHA-256 in hex, or `DELETED`. Raises as `chunks` does."""
        return DELETED if self.kind == "delete" else await _digest(self.chunks())


async def digest_of_theirs(connector: Connector, path: str, theirs: Remote) -> str:
    """SHA-256 in hex of the backend's file. BackendAwayError: also where it has changed since."""

    async def chunks() -> AsyncIterator[bytes]:
        for offset in range(0, theirs.size, PART_BYTES):
            try:
                chunk, read = await connector.read(path, offset, min(PART_BYTES, theirs.size - offset))
            except (FileNotFoundError, IsADirectoryError):
                raise BackendAwayError("changes") from None
            if not same(read, theirs):
                raise BackendAwayError("changes")
            yield chunk

    return await _digest(chunks())


async def _digest(chunks: AsyncIterator[bytes]) -> str:
    digest = sha256()
    async for chunk in chunks:
        if len(chunk) > INLINE_BYTES:
            await asyncio.to_thread(digest.update, chunk)
        else:
            digest.update(chunk)
    return digest.hexdigest()
