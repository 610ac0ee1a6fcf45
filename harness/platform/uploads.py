"""Uploads of a zone: the headers of tus 1.0.0, an upload that has begun, a request that breaks off.

Judges nothing but that an upload is begun, and shown, where one is asked for.
"""

import base64
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1, sha256
from typing import Any

from harness.http.client import Answer
from harness.http.raw_http import Sockets, request
from harness.platform.zone import Pairs, Zone

UPLOADS = "/api/v2/uploads"
CHUNK = "application/offset+octet-stream"
VERSION = ("Tus-Resumable", "1.0.0")
AS_CHUNK = ("Content-Type", CHUNK)
IMF_FIXDATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")
_DIGESTS = {"sha1": sha1, "sha256": sha256}


def metadata(path: str | bytes, more: str = "") -> tuple[str, str]:
    """The header that says where the finished file is to be; more: further pairs."""
    raw = path if isinstance(path, bytes) else path.encode()
    return "Upload-Metadata", f"path {base64.b64encode(raw).decode()}{more}"


def length(size: int | None) -> tuple[str, str]:
    """None: it is told later."""
    return ("Upload-Defer-Length", "1") if size is None else ("Upload-Length", str(size))


def checksum(content: bytes, algorithm: str = "sha1") -> tuple[str, str]:
    digest = base64.b64encode(_DIGESTS[algorithm](content).digest()).decode()
    return "Upload-Checksum", f"{algorithm} {digest}"


def create(zone: Zone, *headers: tuple[str, str], content: bytes = b"") -> Answer:
    """A creation in our version, with nothing but these headers."""
    return zone.request("POST", UPLOADS, headers=[VERSION, *headers], content=content)


class Upload:
    """An upload as one caller sees it."""

    def __init__(self, zone: Zone, url: str) -> None:
        self.zone, self.url = zone, url

    @property
    def id(self) -> str:
        return self.url.rpartition("/")[2]

    def seen_by(self, zone: Zone) -> "Upload":
        """The same as another caller, or another zone, sees it."""
        return Upload(zone, self.url)

    def look(self, **request: Any) -> Answer:
        return self.zone.request("HEAD", self.url, headers=[VERSION], **request)

    @property
    def offset(self) -> int:
        """How many bytes are durable."""
        answer = self.look()
        assert answer.status == 200, answer.status
        return int(answer.headers["upload-offset"])

    def append(self, content: bytes, offset: int, *headers: tuple[str, str], **request: Any) -> Answer:
        given: Pairs = [VERSION, AS_CHUNK, ("Upload-Offset", str(offset)), *headers]
        return self.zone.request("PATCH", self.url, headers=given, content=content, **request)

    def appended(self, content: bytes, offset: int, *headers: tuple[str, str]) -> int:
        """The offset behind bytes that have to be taken."""
        answer = self.append(content, offset, *headers)
        assert answer.status == 204, f"expected 204, got {answer.status}: {answer.body[:500]!r}"
        assert answer.headers["upload-offset"] == str(offset + len(content))
        return offset + len(content)

    def terminate(self, **request: Any) -> Answer:
        return self.zone.request("DELETE", self.url, headers=[VERSION], **request)

    @contextmanager
    def sending(
        self, base_url: str, sent: bytes, offset: int, size: int, *headers: tuple[str, str]
    ) -> Iterator[socket.socket]:
        """A request of `size` bytes that has sent these and is open during the block; after it the link is cut."""
        bearer = ("Authorization", f"Bearer {self.zone.key}")
        given = [bearer, VERSION, AS_CHUNK, ("Upload-Offset", str(offset)), *headers]
        with Sockets(base_url).connect() as connection:
            connection.sendall(request(f"PATCH {self.url}", *given, length=size) + sent)
            yield connection


def begin(zone: Zone, path: str, size: int | None, *headers: tuple[str, str], content: bytes = b"") -> Upload:
    """An upload that has begun, with its first bytes where there are some."""
    first = [AS_CHUNK] if content else []
    answer = create(zone, length(size), metadata(path), *first, *headers, content=content)
    assert answer.status == 201, f"expected 201, got {answer.status}: {answer.body[:500]!r}"
    return Upload(zone, answer.headers["location"])
