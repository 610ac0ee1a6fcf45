"""The bytes of files: small ones lie in the file's row, larger ones in parts in the object store.

A part's row, with its pin, is committed before the object is put, so that no object is ever without one; the file takes
the part while the pin lives, which a trigger demands. What no file takes is swept when its pin has run out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import asyncpg
import uuid_utils.compat as uuid_utils

from nexmdm.kernel.statements import Statements
from nexmdm.platform.object_store import ObjectStore, StoreAwayError
from nexmdm.platform.types import INLINE_BYTES, PART_BYTES
from nexmdm.platform.zone_row import ZoneEndsError, within

# The zone's row is locked against its deletion, which takes it only when no pin lives.
_PIN: Final = """
    INSERT INTO objects (zone_id, object_id, size, sha256, pinned_until)
    SELECT zone_id, part.object_id, part.size, part.sha256, clock_timestamp() + make_interval(secs => $5)
    FROM (SELECT zone_id FROM zones WHERE zone_id = $1 AND uid = $6 AND phase = 'Active' FOR KEY SHARE) AS zone,
        unnest($2::uuid[], $3::bigint[], $4::text[]) AS part (object_id, size, sha256)
    RETURNING object_id
"""
_UNPIN: Final = """
    UPDATE objects SET pinned_until = clock_timestamp() WHERE object_id = ANY ($1) AND pinned_until < 'infinity'
"""
_TAKE: Final = """
    INSERT INTO file_parts (zone_id, file_id, number, object_id)
    SELECT $1, $2, number, object_id FROM unnest($3::uuid[]) WITH ORDINALITY AS part (object_id, number)
"""
_PARTS: Final = """
    SELECT o.object_id, o.size FROM file_parts AS p JOIN objects AS o USING (zone_id, object_id)
    WHERE p.zone_id = $1 AND p.file_id = $2 ORDER BY p.number
"""
_LET_GO: Final = "DELETE FROM file_parts WHERE zone_id = $1 AND file_id = $2"


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file to be written. `inline` None: they lie in `parts`."""

    size: int
    etag: str
    inline: bytes | None
    parts: tuple[UUID, ...] = ()


class Contents:
    """One per process. pin_s: for how long an object may wait for its file."""

    def __init__(self, statements: Statements, store: ObjectStore, pin_s: float) -> None:
        self._statements, self._store, self._pin_s = statements, store, pin_s

    async def keep(self, zone_id: str, zone_uid: UUID, content: bytes) -> Content:
        """Put a content where it belongs, durable but not yet anybody's.

        Raises:
            ZoneEndsError; StoreAwayError: nothing is left behind but what is swept when its pin is over.
        """
        if len(content) <= INLINE_BYTES:
            return Content(len(content), sha256(content).hexdigest(), content)
        return await self.store(zone_id, zone_uid, content)

    async def store(self, zone_id: str, zone_uid: UUID, content: bytes) -> Content:
        """Put a content into the object store, whatever its size. Raises as `keep` does."""
        parts = [memoryview(content)[start : start + PART_BYTES] for start in range(0, len(content), PART_BYTES)]
        digests = await asyncio.to_thread(lambda: [sha256(part) for part in parts])
        ids = [uuid_utils.uuid7() for _ in parts]
        async with within(self._statements, zone_id) as tx:
            sizes, hashes = [len(part) for part in parts], [digest.hexdigest() for digest in digests]
            if not await tx.fetch(_PIN, zone_id, ids, sizes, hashes, self._pin_s, zone_uid):
                raise ZoneEndsError
        try:
            # What has failed may still arrive, so its pin stays; what came later than its pin would have no row.
            async with asyncio.timeout(self._pin_s / 2):
                for name, part in zip(ids, parts, strict=True):
                    await self._store.put(zone_uid, name, part)
        except TimeoutError:
            raise StoreAwayError from None
        return Content(len(content), etag_of([digest.digest() for digest in digests]), None, tuple(ids))

    async def let_go(self, zone_id: str, content: Content) -> None:
        """Nobody is going to take it: it may be swept at once."""
        if content.parts:
            async with within(self._statements, zone_id) as tx:
                await tx.execute(_UNPIN, list(content.parts))

    async def probe(self, zone_id: str, zone_uid: UUID) -> None:
        """Write an object, read and delete it. ZoneEndsError, StoreAwayError, FileNotFoundError."""
        content = await self.store(zone_id, zone_uid, b"probe")
        try:
            await self._store.get(zone_uid, content.parts[0], 0, content.size)
            await self._store.delete(zone_uid, content.parts[0])
        finally:
            await self.let_go(zone_id, content)

    async def read(self, zone_uid: UUID, parts: Sequence[asyncpg.Record], offset: int, length: int) -> bytes:
        """Some of a content that lies in `parts`. FileNotFoundError: the file has been changed; StoreAwayError."""
        found, start = b"", 0
        for part in parts:
            inner = max(0, offset - start)
            if inner < part["size"] and len(found) < length:
                wanted = min(part["size"] - inner, length - len(found))
                found += await self._store.get(zone_uid, part["object_id"], inner, wanted)
            start += part["size"]
        if len(found) < length:
            raise FileNotFoundError
        return found


async def parts_of(tx: asyncpg.Connection[Any], zone_id: str, file_id: UUID) -> Sequence[asyncpg.Record]:
    """The objects that a file consists of, in order, each with its size."""
    parts: Sequence[asyncpg.Record] = await tx.fetch(_PARTS, zone_id, file_id)
    return parts


async def take(tx: asyncpg.Connection[Any], zone_id: str, file_id: UUID, content: Content, *, replace: bool) -> None:
    """Make the parts the file's, instead of the ones that it had."""
    if replace:
        await tx.execute(_LET_GO, zone_id, file_id)
    if content.parts:
        await tx.execute(_TAKE, zone_id, file_id, list(content.parts))


def etag_of(digests: Sequence[bytes]) -> str:
    """The digest of one part, or one of all digests with their number, as object stores have it."""
    if len(digests) == 1:
        return digests[0].hex()
    return f"{sha256(b''.join(digests)).hexdigest()}-{len(digests)}"
