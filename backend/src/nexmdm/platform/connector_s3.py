"""A bucket that speaks S3 as the backend of a mount. It is asked in the mount's name, not in the environment's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, InvalidPathError, PreconditionError
from obstore.store import S3Store

from nexmdm.kernel.settings import foreign
from nexmdm.platform.connector import (
    PAST,
    BackendAwayError,
    ConflictError,
    Content,
    Entry,
    Kind,
    Remote,
    can_be_named,
    same,
)

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import S3Credential

MOST_BYTES: Final = 64 * 2**20  # of a file that is written: only what is put in one request can be put on a condition
_PAGE: Final = 1000
_ENCRYPTION: Final = "AWS_SERVER_SIDE_ENCRYPTION"  # of the operator's bucket, with keys perhaps; it cannot be left out
_NOWHERE: Final = ".nexmdm-nowhere/"
_HEADS_AT_ONCE: Final = 32
_READ_AGAIN: Final = 3  # times, where a file was replaced while it was read


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketSettings:
    """Which bucket, and as whom. prefix: without slashes at its ends, or empty."""

    bucket: str
    prefix: str
    endpoint: str
    region: str
    access_key_id: str
    secret_access_key: str


class BucketDirectory:
    """A `Connector`. BackendAwayError: the environment would have a part in what it is asked with."""

    def __init__(self, settings: BucketSettings, timeout_s: float) -> None:
        if foreign(_ENCRYPTION):
            raise BackendAwayError("encryption_of_the_environment")
        self._timeout_s = timeout_s
        credential: S3Credential = {
            "access_key_id": settings.access_key_id,
            "secret_access_key": settings.secret_access_key,
            "token": None,
            "expires_at": None,
        }
        # Named one by one, for each that is not comes from the environment: the mount's owner is not the operator.
        self._store = S3Store(
            settings.bucket,
            prefix=settings.prefix or None,
            credential_provider=lambda: credential,
            endpoint=settings.endpoint,
            aws_endpoint_url_s3=settings.endpoint,
            region=settings.region,
            skip_signature=False,
            unsigned_payload=False,
            virtual_hosted_style_request=False,
            s3_express=False,
            request_payer=False,
            conditional_put="etag",
            disable_bulk_delete=True,
            client_options={"allow_http": True},
            retry_config={"max_retries": 2},
        )

    async def stat(self, path: str) -> Remote | None:
        async with self._available():
            return await self._stat(path)

    async def kind(self, path: str) -> Kind | None:
        async with self._available():
            if path == "":
                await self._require_bucket()
                return "directory"
            if await self._stat(path) is not None:
                return "file"
            return "directory" if await self._page(f"{path}/", None, 1) else None

    async def read(self, path: str, offset: int, length: int) -> tuple[bytes, Remote]:
        async with self._available():
            for _ in range(_READ_AGAIN):
                found = await self._stat(path)
                if found is None:
                    raise IsADirectoryError if await self._page(f"{path}/", None, 1) else FileNotFoundError
                if offset >= found.size or length == 0:
                    return b"", found
                try:
                    end = min(offset + length, found.size)
                    options = {"if_match": found.etag, "range": (offset, end)}
                    got = await obstore.get_async(self._store, path, options=options)  # type: ignore[arg-type]
                    return bytes(await got.bytes_async()), found
                except (PreconditionError, FileNotFoundError):
                    continue
            raise BackendAwayError("changes")

    async def list(self, path: str, *, recursive: bool, after: str = "", limit: int) -> Sequence[Entry]:
        prefix, behind = f"{path}/" if path else "", _behind(after)
        entries: list[Entry] = []
        async with self._available():
            while len(entries) < limit:
                page = await self._page(prefix, behind)
                listed = await self._judged([_entry(found, prefix, recursive=recursive) for found in page], path)
                for entry in listed:
                    hidden = entry.key == prefix or (recursive and entry.type == "directory")
                    if not hidden and can_be_named(entry.path) and entry.key > (entries[-1].key if entries else after):
                        entries.append(entry)
                if len(page) < _PAGE:
                    break
                last = listed[-1]
                # Behind the marker of a directory comes what is below it; before it what else begins with its name.
                behind = f"{last.path}.{PAST}" if recursive and last.type == "directory" else _behind(last.key)
        return entries[:limit]

    async def write(self, path: str, content: Content, expected: Remote | None) -> Remote:
        whole = await _whole(content)
        async with self._available():
            try:
                put = await obstore.put_async(
                    self._store,
                    path,
                    whole,
                    mode="create" if expected is None else {"e_tag": expected.etag},
                    use_multipart=False,
                )
            except (AlreadyExistsError, PreconditionError, FileNotFoundError):
                raise ConflictError(await self._stat(path)) from None
        if put["e_tag"] is None:
            raise BackendAwayError("no_etag")
        return Remote(put["e_tag"], len(whole), datetime.now(UTC))

    async def delete(self, path: str, expected: Remote) -> None:
        async with self._available():
            found = await self._stat(path)
            if found is None:
                return
            if not same(found, expected):
                raise ConflictError(found)
            await obstore.delete_async(self._store, path)

    async def check(self) -> None:
        async with self._available():
            await self._require_bucket()

    async def _stat(self, path: str) -> Remote | None:
        try:
            return _remote(await obstore.head_async(self._store, path))
        except FileNotFoundError:
            # An answer to HEAD has no body that would tell a missing bucket from a missing object; a list does.
            await self._require_bucket()
            return None

    async def _require_bucket(self) -> None:
        """Ask for what lies where nothing does: a key that the client cannot read must not stand in the way."""
        await self._page(_NOWHERE, None, 1)

    async def _page(self, prefix: str, behind: str | None, most: int = _PAGE) -> Sequence[ObjectMeta]:
        """The first objects below a prefix, and behind a path. BackendAwayError: there is no bucket."""
        try:
            async for found in obstore.list(self._store, prefix or None, offset=behind, chunk_size=most):
                return found
        except FileNotFoundError:
            raise BackendAwayError("no_bucket") from None
        return ()

    async def _judged(self, entries: Sequence[Entry], path: str) -> Sequence[Entry]:
        """What was listed below a path, with a directory in place of each empty object `a/` that stands for one.

        Other clients make a directory `a` by it. The store names it without its slash, as if it were a file.
        """
        at_once = asyncio.Semaphore(_HEADS_AT_ONCE)

        async def is_marker(name: str) -> bool:
            if name == path:
                return True
            async with at_once:
                try:
                    await obstore.head_async(self._store, name)
                except FileNotFoundError:
                    return True
            return False

        empty = [entry.path for entry in entries if entry.remote is not None and entry.remote.size == 0]
        judged = await asyncio.gather(*map(is_marker, empty))
        markers = {name for name, it_is in zip(empty, judged, strict=True) if it_is}
        return [Entry(entry.path, "directory") if entry.path in markers else entry for entry in entries]

    @asynccontextmanager
    async def _available(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except (FileNotFoundError, IsADirectoryError):
            raise
        except TimeoutError:
            raise BackendAwayError("timeout") from None
        except InvalidPathError:
            raise BackendAwayError("unreadable_key") from None
        except (OSError, BaseError, ValueError) as error:
            # Without its cause: what the store says may quote the address and who asked.
            raise BackendAwayError(type(error).__name__) from None


def _remote(found: ObjectMeta) -> Remote:
    if found["e_tag"] is None:
        raise BackendAwayError("no_etag")
    return Remote(found["e_tag"], found["size"], found["last_modified"])


def _entry(found: ObjectMeta, prefix: str, *, recursive: bool) -> Entry:
    name, is_deeper, _ = found["path"].removeprefix(prefix).partition("/")
    if is_deeper and not recursive:
        return Entry(f"{prefix}{name}", "directory")
    return Entry(found["path"], "file", _remote(found))


def _behind(key: str) -> str | None:
    """From where on to ask for what follows a key."""
    return f"{key}{PAST}" if key.endswith("/") else key or None


async def _whole(content: Content) -> bytes:
    """All of it. BackendAwayError: it is too large."""
    if isinstance(content, bytes):
        return content
    chunks, size = [], 0
    async for chunk in content:
        chunks.append(chunk)
        size += len(chunk)
        if size > MOST_BYTES:
            raise BackendAwayError("too_large")
    return b"".join(chunks)
