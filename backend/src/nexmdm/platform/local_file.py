"""One file of a directory that is open: looked at, or put in the place of another one that is expected there.

No system call compares and replaces. The file to be replaced is linked aside, and compared once it has been: if it is
another one it is put back. What replaces it by a rename between the link and ours (microseconds) is not seen.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import suppress
from datetime import UTC, datetime
from threading import Lock
from typing import Final
from uuid import uuid4

from nexmdm.platform.connector import ConflictError, Remote, same

HIDDEN: Final = re.compile(r"\.nexmdm-[0-9a-f]{32}")  # what is ours beside the files
_TO_ENTER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_TO_MAKE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_NOT_OPEN: Final = -1
_YEARS: Final = (0.0, 253402300799.0)  # 1970 to 9999: other file systems know other times
_MOST_OF_NAME: Final = 50  # letters of it in that of a copy


def remote_of(found: os.stat_result) -> Remote:
    """The file. Its inode changes when it is replaced, its time when it is written to."""
    etag = f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"
    at_s = min(max(found.st_mtime, _YEARS[0]), _YEARS[1])
    return Remote(etag, found.st_size, datetime.fromtimestamp(at_s, UTC))


def file_at(folder: int, name: str) -> Remote | None:
    """The file of this name. IsADirectoryError; OSError: it is a link, or no file."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a directory")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.ELOOP, "a link, or no file")
    return remote_of(found)


def enter(folder: int, name: str) -> int:
    """Open a directory of a directory. FileNotFoundError, NotADirectoryError; OSError: it is a link."""
    try:
        return os.open(name, _TO_ENTER, dir_fd=folder)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, "a link") from None
        raise


class NewFile:
    """A file that has no name yet. Each call may come from another thread; they wait for each other.

    Whatever happens to the caller, `close` comes last: it waits for a call that nobody waits for any more.
    """

    def __init__(self, name: str) -> None:
        self.name, self._new, self._aside = name, _hidden(), _hidden()
        self._lock, self._is_closed = Lock(), False
        self._folder = self._descriptor = _NOT_OPEN

    def begin(self, folder: int) -> None:
        """Make it, in the directory where it is to be. OSError."""
        with self._lock:
            self._refuse_if_closed()
            self._folder = os.dup(folder)
            self._descriptor = os.open(self._new, _TO_MAKE, 0o644, dir_fd=self._folder)

    def add(self, content: bytes) -> None:
        """Write more of it. OSError."""
        with self._lock:
            self._refuse_if_closed()
            view = memoryview(content)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def take_place(self, expected: Remote | None) -> Remote:
        """Give it its name, in place of the expected file. ConflictError, OSError."""
        with self._lock:
            self._refuse_if_closed()
            os.fsync(self._descriptor)
            self._refuse_if_closed()
            ours = remote_of(os.fstat(self._descriptor))  # once it has its name others may write to it
            if expected is None:
                self._appear()
            else:
                self._replace(expected, ours)
            os.fsync(self._folder)
            return ours

    def abandon(self) -> None:
        """Nobody waits for it any more: it takes no place, however long a call has hung. Waits for nothing itself."""
        self._is_closed = True

    def close(self) -> None:
        """Let go of it; what has not taken its place is gone."""
        with self._lock:
            self._is_closed = True
            if self._descriptor != _NOT_OPEN:
                with suppress(FileNotFoundError):
                    os.unlink(self._new, dir_fd=self._folder)
            for descriptor in (self._descriptor, self._folder):
                if descriptor != _NOT_OPEN:
                    os.close(descriptor)

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise OSError(errno.EBADF, "closed")

    def _appear(self) -> None:
        try:
            self._link(self._new, self.name)
        except FileExistsError:
            raise ConflictError(file_at(self._folder, self.name)) from None

    def _replace(self, expected: Remote, ours: Remote) -> None:
        found = file_at(self._folder, self.name)
        if not same(found, expected):
            raise ConflictError(found)
        try:
            self._link(self.name, self._aside)
        except FileNotFoundError:
            raise ConflictError(None) from None
        try:
            old = os.stat(self._aside, dir_fd=self._folder, follow_symlinks=False)
            os.fchmod(self._descriptor, stat.S_IMODE(old.st_mode))
            self._rename(self._new, self.name)
        except OSError:
            os.unlink(self._aside, dir_fd=self._folder)
            raise
        if same(file_at(self._folder, self._aside), expected):
            os.unlink(self._aside, dir_fd=self._folder)
        else:
            self._put_back(ours)

    def _put_back(self, ours: Remote) -> None:
        """Another file was there than the expected one: it is theirs, and stays. ConflictError."""
        is_ours = same(file_at(self._folder, self.name), ours)
        copy = f"{self.name[:_MOST_OF_NAME]}.sync-conflict-{self._aside[-12:]}"  # where a third one has come since
        self._rename(self._aside, self.name if is_ours else copy)
        os.fsync(self._folder)
        raise ConflictError(file_at(self._folder, self.name))

    def _link(self, old: str, new: str) -> None:
        os.link(old, new, src_dir_fd=self._folder, dst_dir_fd=self._folder, follow_symlinks=False)

    def _rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self._folder, dst_dir_fd=self._folder)


def _hidden() -> str:
    return f".nexmdm-{uuid4().hex}"
