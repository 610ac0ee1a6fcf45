"""Paths of a zone: absolute, in Unicode's form NFC, of segments that every file system could hold."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Annotated, Final
from uuid import UUID

from pydantic import Field

from nexmdm.platform.rpc_errors import PATH_INVALID, RpcError

Path = Annotated[str, Field(max_length=2**16)]  # which of them is one `canonical` says
ROOT: Final = "/"
MOST_BYTES: Final = 1024
MOST_OF_SEGMENT: Final = 255


def canonical(path: str) -> str:
    """The path itself.

    Raises:
        RpcError: `path_invalid` unless it is absolute and in NFC, without `.`, `..`, empty segments or control
            characters, of at most 1,024 bytes and 255 in a segment.
    """
    if path == ROOT:
        return path
    fault = _fault(path)
    if fault is not None:
        raise RpcError(PATH_INVALID, reason=fault)
    return path


def of_entry(path: str) -> str:
    """As `canonical`, of something that can be made, moved or removed: the root cannot."""
    if path == ROOT:
        raise RpcError(PATH_INVALID, reason="the root stays as it is")
    return canonical(path)


def _fault(path: str) -> str | None:
    if not path.startswith("/"):
        return "not absolute"
    if len(path.encode()) > MOST_BYTES:
        return f"longer than {MOST_BYTES} bytes"
    segments = path[1:].split("/")
    if any(segment in {"", ".", ".."} for segment in segments):
        return "has an empty segment, `.` or `..`"
    if any(len(segment.encode()) > MOST_OF_SEGMENT for segment in segments):
        return f"a segment is longer than {MOST_OF_SEGMENT} bytes"
    if any(unicodedata.category(letter) == "Cc" for letter in path):
        return "has a control character"
    if not unicodedata.is_normalized("NFC", path):
        return "not in Unicode's form NFC"
    return None


def ancestors(path: str) -> list[str]:
    """The directories that a path lies in, without the root: `/a` and `/a/b` of `/a/b/c`."""
    return list(_ancestors(path))


def _ancestors(path: str) -> Iterator[str]:
    end = path.find("/", 1)
    while end != -1:
        yield path[:end]
        end = path.find("/", end + 1)


def below(directory: str) -> tuple[str, str]:
    """The range of paths below a directory, its ends excluded, in the order of their bytes: "0" follows "/"."""
    if directory == ROOT:
        return "/\x1f", "0"  # what lies behind a control character is nobody's to name
    return f"{directory}/", f"{directory}0"


def private(mount_id: UUID, path: str = "") -> str:
    """Where in `files` a change below a mount lies, or all of them. `path`: one below the mount point, as `a/b`."""
    return f"/\x01{mount_id}/{path}".rstrip("/")
