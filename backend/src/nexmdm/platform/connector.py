"""What a mount asks of its backend. Paths are those below the mount point, without a slash at either end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Final, Literal, NamedTuple, Protocol

from nexmdm.platform import paths
from nexmdm.platform.rpc_errors import RpcError

PAST: Final = "\U0010ffff"  # behind every letter that a path can have
Content = bytes | AsyncIterator[bytes]
Kind = Literal["file", "directory"]


class Remote(NamedTuple):
    """A file as it is at the backend. Two that have one etag are the same file, unchanged."""

    etag: str
    size: int
    modified_at: datetime


def same(one: Remote | None, other: Remote | None) -> bool:
    """Whether it is the same file, unchanged; or there is none, as before."""
    return one is other if one is None or other is None else one.etag == other.etag


class Entry(NamedTuple):
    """What lies in a directory; of a directory nothing but its path is known."""

    path: str
    type: Kind
    remote: Remote | None = None

    @property
    def key(self) -> str:
        """Its place in a list: a directory stands where what lies in it would."""
        return f"{self.path}/" if self.type == "directory" else self.path


class BackendAwayError(Exception):
    """The backend cannot be asked, or not about this path. `reason` quotes no path, no setting and no secret."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ConflictError(Exception):
    """The backend's file is not the expected one, and has been left as it is: `theirs`, None where it is gone."""

    def __init__(self, theirs: Remote | None) -> None:
        super().__init__("theirs")
        self.theirs = theirs


class Connector(Protocol):
    """A backend. Each call is bounded in time, blocks no event loop and raises BackendAwayError."""

    async def stat(self, path: str) -> Remote | None:
        """The file at a path; None where there is none, or a directory."""

    async def kind(self, path: str) -> Kind | None:
        """What is at a path, which may be empty: the mount point's own."""

    async def read(self, path: str, offset: int, length: int) -> tuple[bytes, Remote]:
        """Some of a file, less at its end; and of which state of the file. FileNotFoundError, IsADirectoryError."""

    async def list(self, path: str, *, recursive: bool, after: str = "", limit: int) -> Sequence[Entry]:
        """What lies in a directory; or all files below it. None where there is no directory.

        In the order of the bytes of their keys, beginning behind the key `after`. What no path can name is left out.
        """

    async def write(self, path: str, content: Content, expected: Remote | None) -> Remote:
        """Write a file whole, in place of the expected one (None: of none). Durable when it returns. ConflictError."""

    async def delete(self, path: str, expected: Remote) -> None:
        """Delete the expected file; one that is gone already is fine. ConflictError."""

    async def check(self) -> None:
        """Whether it can be asked at all."""


def can_be_named(path: str) -> bool:
    """Whether a caller could name this path of a backend."""
    try:
        return paths.canonical(f"/{path}") != paths.ROOT
    except (RpcError, UnicodeEncodeError):
        return False
