"""One HTTP/1.1 request as exact bytes over a socket, and the answer. It repairs nothing: no header is added or merged.

HTTP clients refuse to send what the curated cases are about: two Authorization headers, a wrong Content-Length, a body
in UTF-16 that claims to be JSON. They ask for `Connection: close`: an answer ends where the stream ends.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from harness.http.coverage_recorder import Recorder
from harness.http.tls import connect

TIMEOUT_S = 15.0


class NoAnswer(Exception):
    """The connection ended, or nothing came in time, before there was a whole answer."""


@dataclass(frozen=True)
class RawAnswer:
    """Header names are lower case; of a repeated header the last value stands."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class RawRequest:
    """What goes over the wire after the request line; `chunks` sends the body chunked instead of with a length."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    chunks: int = 0
    content_length: int | None = None

    def encode(self, host: str) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {host}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        body = self.body
        if self.chunks:
            lines.append("Transfer-Encoding: chunked")
            body = b"".join(_chunk(part) for part in _split(self.body, self.chunks)) + b"0\r\n\r\n"
        elif self.body or self.content_length is not None or self.method in ("POST", "PUT", "PATCH"):
            length = len(self.body) if self.content_length is None else self.content_length
            lines.append(f"Content-Length: {length}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _split(body: bytes, parts: int) -> Iterable[bytes]:
    size = max(1, -(-len(body) // parts))
    return (body[start : start + size] for start in range(0, len(body), size))


def _chunk(part: bytes) -> bytes:
    return f"{len(part):x}\r\n".encode() + part + b"\r\n"


class Wire:
    """Sends to one service and records which operation answered with which status."""

    def __init__(self, base_url: str, recorder: Recorder) -> None:
        self.base_url = base_url
        self._recorder = recorder

    def send(self, request: RawRequest) -> RawAnswer:
        """Raises NoAnswer."""
        answer = send(self.base_url, request)
        self._recorder.record(request.method, request.target, answer.status)
        return answer


def send(base_url: str, request: RawRequest, *, timeout_s: float = TIMEOUT_S) -> RawAnswer:
    """Raises NoAnswer. A service may answer before it has read everything, so a failed send still reads."""
    parts = urlsplit(base_url)
    try:
        with connect(base_url, timeout_s) as connection:
            # A service that refuses early closes while we still send; its answer may be there to read all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                connection.sendall(request.encode(parts.netloc))
            answer = http.client.HTTPResponse(connection, method=request.method)
            answer.begin()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return RawAnswer(answer.status, headers, answer.read())
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(f"{request.method} {request.target}: {type(error).__name__}: {error}") from None
