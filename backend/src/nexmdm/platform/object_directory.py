"""Objects in a local directory: whole or not there, on the disk before their names are."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple
from uuid import UUID

_HALF: Final = ".half"  # the end of the name of an object that is being written
_THREADS: Final = 8

T = TypeVar("T")
Given = TypeVarTuple("Given")


class Directory:
    """Objects below a directory. Each call runs in a thread. OSError."""

    def __init__(self, folder: str) -> None:
        self._zones = Path(folder).absolute() / "zones"
        # Their own: a store that hangs must not take the threads of everything else.
        self._threads = ThreadPoolExecutor(_THREADS, "objects")

    async def put(self, zone: UUID, name: UUID, content: bytes | memoryview) -> None:
        await self._do(self._put, zone, name, content)

    async def get(self, zone: UUID, name: UUID, offset: int, length: int) -> bytes:
        return await self._do(self._get, zone, name, offset, length)

    async def delete(self, zone: UUID, name: UUID) -> None:
        await self._do(self._delete, zone, name)

    async def remove_zone(self, zone: UUID) -> None:
        await self._do(self._remove_zone, zone)

    async def _do(self, work: Callable[[*Given], T], *given: *Given) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)

    def _put(self, zone: UUID, name: UUID, content: bytes | memoryview) -> None:
        folder = self._folder(zone)
        half = folder / f"{name}{_HALF}"
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        except BaseException:
            half.unlink()
            raise
        finally:
            os.close(descriptor)
        half.rename(folder / str(name))
        _sync(folder)

    def _get(self, zone: UUID, name: UUID, offset: int, length: int) -> bytes:
        try:
            descriptor = os.open(self._zones / str(zone) / str(name), os.O_RDONLY)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)

    def _delete(self, zone: UUID, name: UUID) -> None:
        folder = self._zones / str(zone)
        with suppress(FileNotFoundError):
            for ending in ("", _HALF):
                (folder / f"{name}{ending}").unlink(missing_ok=True)
            _sync(folder)

    def _remove_zone(self, zone: UUID) -> None:
        folder = self._zones / str(zone)
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
            _sync(self._zones)

    def _folder(self, zone: UUID) -> Path:
        folder = self._zones / str(zone)
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for parent in (self._zones, self._zones.parent):
                _sync(parent)
        return folder


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
