"""The bytes of an upload's request, part by part: each is durable before the offset moves, also if the link breaks."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
from fastapi import Request
from starlette.requests import ClientDisconnect

from nexmdm.http.problems import PAYLOAD_TOO_LARGE
from nexmdm.kernel.problems import Problem, invalid
from nexmdm.platform import upload_rows
from nexmdm.platform.auth import Caller, judge_again
from nexmdm.platform.contents import Content
from nexmdm.platform.problems import CHECKSUM_MISMATCH
from nexmdm.platform.state import Platform
from nexmdm.platform.types import PART_BYTES
from nexmdm.platform.upload_headers import ALGORITHMS, Checksum


class Receiver:
    """Takes the body of one request into an upload. `row`: the upload as it is in the database."""

    def __init__(self, platform: Platform, caller: Caller, row: asyncpg.Record) -> None:
        self._platform, self._caller, self.row = platform, caller, row
        self._holder = uuid4()

    async def take_over(self, offset: int) -> None:
        """Have the upload from now on. UploadMovedError."""
        async with self._platform.within(self._caller.zone_id) as tx:
            await upload_rows.take_over(tx, self._caller.zone_id, self._id, offset, self._holder)

    def check(self, request: Request, length: int | None) -> None:
        """Judge how long the request says that the upload and the body are. Problem: what could not be taken."""
        most, known = self._platform.settings.platform_upload_bytes, self.row["length"]
        if length is not None:
            if length != (length if known is None else known) or length < self.row["upload_offset"]:
                raise invalid("/header/upload-length", "length", "Not the length of this upload.")
            if length > most:
                raise Problem(PAYLOAD_TOO_LARGE, f"An upload has at most {most} bytes.")
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._room(length):
            raise _too_long()

    async def declare_length(self, length: int) -> None:
        """Say how long the upload is to be, where that is not known. UploadMovedError, QuotaExceededError."""
        if self.row["length"] is None:
            async with self._platform.changing(self._caller.zone_id) as tx:
                self.row = await upload_rows.declare_length(tx, self._caller.zone_id, self.row, self._holder, length)

    async def give_up(self) -> None:
        """End an upload whose client was not told of it."""
        zone_id = self._caller.zone_id
        async with self._platform.changing(zone_id) as tx:
            row = await upload_rows.find(tx, zone_id, self._id, lock=True)
            if row is not None:
                await upload_rows.end(tx, zone_id, row)

    async def nothing_more(self) -> None:
        """Finish an upload without bytes."""
        await self._take([])

    async def receive(self, request: Request, checksum: Checksum | None) -> None:
        """Append the body.

        Raises:
            Problem: it is longer than the upload, or not what the checksum says: then nothing of it is taken.
            ClientDisconnect: what has arrived is taken, unless there is a checksum.
            UploadMovedError, BlockedPathError, QuotaExceededError, ZoneEndsError, StoreAwayError.
        """
        if checksum is None:
            await self._append(_parts(request, self._room()))
        else:
            await self._append_checked(_parts(request, self._room()), checksum)

    async def _append(self, parts: AsyncIterator[bytes]) -> None:
        taken = False
        try:
            async for part in parts:
                await self._take([await self._store(part)])
                taken = True
        except _BrokenOffError as broken:
            if broken.rest:
                await self._take([await self._store(broken.rest)])
            raise ClientDisconnect from None
        if not taken:
            await self._take([])

    async def _append_checked(self, parts: AsyncIterator[bytes], checksum: Checksum) -> None:
        digest, kept = ALGORITHMS[checksum.algorithm](), list[Content]()
        try:
            async for part in parts:
                await asyncio.to_thread(digest.update, part)
                kept.append(await self._store(part))
            _compare(digest.digest(), checksum.digest)
        except BaseException as error:
            for content in kept:
                await self._platform.contents.let_go(self._caller.zone_id, content)
            if isinstance(error, _BrokenOffError):
                raise ClientDisconnect from None
            raise
        await self._take(kept)

    async def _store(self, part: bytes) -> Content:
        return await self._platform.contents.store(self._caller.zone_id, self._caller.zone_uid, part)

    async def _take(self, stored: list[Content]) -> None:
        """Move the offset behind what is stored."""
        whole = Content(
            sum(content.size for content in stored), "", None, tuple(part for one in stored for part in one.parts)
        )
        is_last = self.row["upload_offset"] + whole.size == self.row["length"]
        transaction = self._platform.changing if is_last else self._platform.within
        try:
            async with transaction(self._caller.zone_id) as tx:
                await judge_again(tx, self._caller)
                self.row = await upload_rows.move_on(
                    tx,
                    self._caller.zone_id,
                    self._id,
                    self.row["upload_offset"],
                    self._holder,
                    whole,
                    self._platform.settings.platform_upload_expires_s,
                )
        except BaseException:
            await self._platform.contents.let_go(self._caller.zone_id, whole)
            raise

    @property
    def _id(self) -> UUID:
        upload_id: UUID = self.row["upload_id"]
        return upload_id

    def _room(self, declared: int | None = None) -> int:
        """How many bytes the upload still takes, of the length that is known or declared."""
        length = declared if self.row["length"] is None else self.row["length"]
        most: int = self._platform.settings.platform_upload_bytes if length is None else length
        return most - int(self.row["upload_offset"])


class _BrokenOffError(Exception):
    """The client has gone before the end; `rest` had arrived."""

    def __init__(self, rest: bytes) -> None:
        super().__init__()
        self.rest = rest


async def _parts(request: Request, room: int) -> AsyncIterator[bytes]:
    """The body in parts as they are stored. _BrokenOffError; Problem: it is longer than the room."""
    pending = bytearray()
    try:
        async for chunk in request.stream():
            room -= len(chunk)
            if room < 0:
                raise _too_long()
            pending += chunk
            while len(pending) >= PART_BYTES:
                yield bytes(memoryview(pending)[:PART_BYTES])
                del pending[:PART_BYTES]
    except ClientDisconnect:
        raise _BrokenOffError(bytes(pending)) from None
    if pending:
        yield bytes(pending)


def _compare(digest: bytes, wanted: bytes) -> None:
    if not hmac.compare_digest(digest, wanted):
        raise Problem(CHECKSUM_MISMATCH)


def _too_long() -> Problem:
    return Problem(PAYLOAD_TOO_LARGE, "The body goes beyond the end of the upload.")
