"""Where builds lie: a local directory or a bucket, one object per SHA-256. It knows no table and deletes nothing.

An object that a crash leaves behind without a row costs space only: the next upload of the same bytes takes it over.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

import obstore
from fastapi import Request
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from nexmdm.http.problems import PAYLOAD_TOO_LARGE
from nexmdm.kernel.events import DEPENDENCY_AWAY
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import DEPENDENCY_UNAVAILABLE, Problem

_CHUNK_BYTES: Final = 2**20  # a hop to a thread per chunk costs nothing beside hashing and writing one


@dataclass(frozen=True, slots=True)
class Received:
    """An upload that has arrived, in a file that nobody else can see and that vanishes when it is closed."""

    file: BinaryIO
    size_bytes: int
    sha256: str


@cache
def _store(url: str) -> ObjectStore:
    if "://" in url:
        return from_url(url)
    return LocalStore(Path(url).absolute(), mkdir=True)


def key_of(digest: str) -> str:
    """Where the bytes with this SHA-256 lie, relative to the storage."""
    return f"{digest}.apk"


@contextmanager
def _available() -> Iterator[None]:
    """A storage that fails is a dependency that is away: 503, and a line that says so."""
    try:
        yield
    except (BaseError, OSError) as error:
        emit(DEPENDENCY_AWAY, "error", dependency="storage", error=type(error).__name__)
        raise Problem(DEPENDENCY_UNAVAILABLE) from error


@asynccontextmanager
async def receive(request: Request, limit: int) -> AsyncIterator[Received]:
    """Stream the body into a temporary file while hashing it.

    Raises:
        Problem: `payload_too_large` as soon as the body is known to exceed `limit` bytes.
    """
    too_large = Problem(PAYLOAD_TOO_LARGE, f"The body exceeds {limit} bytes.")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    digest = sha256()
    size = 0
    with _available():
        file: BinaryIO = await asyncio.to_thread(tempfile.TemporaryFile)
    with file:

        def take(chunk: bytes) -> None:
            digest.update(chunk)
            file.write(chunk)

        pending = bytearray()
        async for part in request.stream():
            pending += part
            size += len(part)
            if size > limit:
                raise too_large
            if len(pending) >= _CHUNK_BYTES:
                with _available():
                    await asyncio.to_thread(take, bytes(pending))
                pending.clear()
        with _available():
            await asyncio.to_thread(take, bytes(pending))
        yield Received(file, size, digest.hexdigest())


async def keep(url: str, received: Received) -> None:
    """Put the bytes under their SHA-256. The object appears at once and whole; equal bytes may be put again."""
    with _available():
        received.file.seek(0)
        # Parts of 5 MiB: as many in flight as keep a bucket busy, few enough to stay small in memory.
        await obstore.put_async(_store(url), key_of(received.sha256), received.file, max_concurrency=3)


async def open_range(url: str, key: str, start: int, end: int) -> AsyncIterator[bytes]:
    """The bytes from `start` up to `end`, exclusive. Fails before any byte is promised, where there is no object."""
    with _available():
        found = await obstore.get_async(_store(url), key, options={"range": (start, end)})
    return _chunks(found.stream(min_chunk_size=_CHUNK_BYTES))


async def _chunks(stream: AsyncIterable[Any]) -> AsyncIterator[bytes]:
    async for chunk in stream:
        yield bytes(chunk)
