"""A directory of this machine as the backend of a mount. No link below it is followed: nothing outside is reached."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Final, TypeVar, TypeVarTuple

from nexmdm.platform.connector import BackendAwayError, ConflictError, Content, Entry, Kind, Remote, can_be_named, same
from nexmdm.platform.local_file import HIDDEN, NewFile, enter, file_at, remote_of

_THREADS: Final = 4
_ABSENT: Final = (FileNotFoundError, NotADirectoryError)
_TO_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe without a writer is no reason to wait
_TO_WALK: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW

T = TypeVar("T")
Given = TypeVarTuple("Given")


class LocalDirectory:
    """A `Connector`. root: absolute and resolved; it is there, or nothing of it is."""

    def __init__(self, root: str, timeout_s: float) -> None:
        self._root, self._timeout_s = root, timeout_s
        # Their own: a directory that hangs must not take the threads of everything else.
        self._threads = ThreadPoolExecutor(_THREADS, "mount")

    async def stat(self, path: str) -> Remote | None:
        found = await self._do(self._look, path)
        return remote_of(found) if found is not None and stat.S_ISREG(found.st_mode) else None

    async def kind(self, path: str) -> Kind | None:
        found = await self._do(self._look, path)
        if found is None:
            return None
        return "file" if stat.S_ISREG(found.st_mode) else "directory"

    async def read(self, path: str, offset: int, length: int) -> tuple[bytes, Remote]:
        return await self._do(self._read, path, offset, length, passes=(FileNotFoundError, IsADirectoryError))

    async def list(self, path: str, *, recursive: bool, after: str = "", limit: int) -> Sequence[Entry]:
        return await self._do(self._list, path, recursive, after, limit)

    async def write(self, path: str, content: Content, expected: Remote | None) -> Remote:
        new = NewFile(path.rpartition("/")[2])
        try:
            await self._do(self._begin, path, new)
            async for chunk in _chunks(content):
                await self._do(new.add, chunk)
            return await self._do(new.take_place, expected)
        finally:
            new.abandon()
            with suppress(BackendAwayError):
                await self._do(new.close)

    async def delete(self, path: str, expected: Remote) -> None:
        await self._do(self._delete, path, expected)

    async def check(self) -> None:
        await self._do(self._look, "")

    async def _do(self, work: Callable[[*Given], T], *given: *Given, passes: tuple[type[OSError], ...] = ()) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work, *given)
        except passes:
            raise
        except OSError as error:
            reason = "timeout" if isinstance(error, TimeoutError) else errno.errorcode.get(error.errno or 0, "OSError")
            raise BackendAwayError(reason) from error

    @contextmanager
    def _folder(self, path: str, *, make: bool = False) -> Iterator[int]:
        """A directory, open. FileNotFoundError, NotADirectoryError: there is none; OSError."""
        folder = self._open_root()
        try:
            for name in path.split("/") if path else ():
                if make:
                    _make(folder, name)
                inner = enter(folder, name)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)

    def _open_root(self) -> int:
        """Step by step: none may have become a link since it was resolved. BackendAwayError: it is not there."""
        folder = os.open("/", _TO_WALK)
        try:
            for name in self._root.split("/")[1:-1]:
                inner = os.open(name, _TO_WALK, dir_fd=folder)
                os.close(folder)
                folder = inner
            return enter(folder, self._root.rpartition("/")[2] or ".")
        except OSError as error:
            raise BackendAwayError("no_root") from error
        finally:
            os.close(folder)

    def _look(self, path: str) -> os.stat_result | None:
        parent, _, name = path.rpartition("/")
        try:
            with self._folder(parent) as folder:
                found = os.stat(name or ".", dir_fd=folder, follow_symlinks=False)
        except _ABSENT:
            return None
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise OSError(errno.ELOOP, "a link, or no file")
        return found

    def _read(self, path: str, offset: int, length: int) -> tuple[bytes, Remote]:
        parent, _, name = path.rpartition("/")
        try:
            with self._folder(parent) as folder:
                descriptor = os.open(name or ".", _TO_READ, dir_fd=folder)
        except NotADirectoryError:
            raise FileNotFoundError from None
        try:
            found = os.fstat(descriptor)
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "no file")
            content = b""
            while len(content) < length:
                more = os.pread(descriptor, length - len(content), offset + len(content))
                if not more:
                    break
                content += more
            return content, remote_of(found)
        finally:
            os.close(descriptor)

    def _list(self, path: str, recursive: bool, after: str, limit: int) -> Sequence[Entry]:
        try:
            with self._folder(path) as folder:
                return list(islice(_below(folder, f"{path}/" if path else "", after, recursive=recursive), limit))
        except _ABSENT:
            return []

    def _begin(self, path: str, new: NewFile) -> None:
        parent = path.rpartition("/")[0]
        if HIDDEN.fullmatch(new.name):
            raise OSError(errno.EPERM, "a name of ours")
        with self._folder(parent, make=True) as folder:
            new.begin(folder)

    def _delete(self, path: str, expected: Remote) -> None:
        parent, _, name = path.rpartition("/")
        with suppress(*_ABSENT), self._folder(parent) as folder:
            found = file_at(folder, name)
            if found is None:
                return
            if not same(found, expected):
                raise ConflictError(found)
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)


async def _chunks(content: Content) -> AsyncIterator[bytes]:
    if isinstance(content, bytes):
        yield content
    else:
        async for chunk in content:
            yield chunk


def _make(folder: int, name: str) -> None:
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
        os.fsync(folder)


def _below(folder: int, prefix: str, after: str, *, recursive: bool) -> Iterator[Entry]:
    """What lies in an open directory, in the order of the keys."""
    found = [entry for entry in _entries(folder, prefix) if recursive or entry.key > after]
    for entry in sorted(found, key=lambda entry: entry.key):
        if entry.type == "file" or not recursive:
            if entry.key > after:
                yield entry
        elif entry.key > after or after.startswith(entry.key):  # else all of it lies before
            try:
                inner = enter(folder, entry.path.rpartition("/")[2])
            except _ABSENT:
                continue
            try:
                yield from _below(inner, entry.key, after, recursive=True)
            finally:
                os.close(inner)


def _entries(folder: int, prefix: str) -> Iterator[Entry]:
    with os.scandir(folder) as children:
        for child in children:
            path = f"{prefix}{child.name}"
            if HIDDEN.fullmatch(child.name) or not can_be_named(path):
                continue
            try:
                found = child.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # it has gone since
            if stat.S_ISDIR(found.st_mode):
                yield Entry(path, "directory")
            elif stat.S_ISREG(found.st_mode):
                yield Entry(path, "file", remote_of(found))
