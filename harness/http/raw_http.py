"""HTTP/1.1 as exact bytes over a socket: requests that no client would send, and every answer that comes back.

It repairs nothing that it sends, adds no header but Host and the framing of a body, and judges nothing.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.http.client import Answer
from harness.http.tls import connect

PATIENCE_S = 10.0


@dataclass(frozen=True)
class Sockets:
    """Opens connections to one service, past every HTTP client and every proxy."""

    base_url: str

    @contextmanager
    def connect(self) -> Iterator[socket.socket]:
        with connect(self.base_url, PATIENCE_S) as connection:
            yield connection

    def raw(self, sent: bytes, *, half_close: bool = False) -> bytes:
        """What comes until the service closes the connection. TimeoutError: it keeps it open.

        With `half_close` the service is told behind the last byte that no more will come.
        """
        with self._sent(sent) as connection:
            if half_close:
                with contextlib.suppress(OSError):  # it may be gone already
                    connection.shutdown(socket.SHUT_WR)
            return drain(connection)

    def exchange(self, sent: bytes, *, half_close: bool = False) -> list[Answer]:
        """The same as answers."""
        return answers(self.raw(sent, half_close=half_close))

    def ask(self, sent: bytes, *, to_head: bool = False) -> Answer:
        """The first answer, as soon as it is whole; the service need not close. ValueError: none came."""
        received = b""
        with self._sent(sent) as connection, contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                received += piece
                with contextlib.suppress(ValueError):
                    return _first(received, to_head=to_head)[0]
        raise ValueError(f"an answer that is cut short: {received[:200]!r}")

    @contextmanager
    def _sent(self, sent: bytes) -> Iterator[socket.socket]:
        """A connection to which everything was sent that the service would take."""
        with self.connect() as connection:
            # A service that refuses early closes while the request is still sent; its answer can be read all the same.
            with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
                connection.sendall(sent)
            yield connection


def request(
    line: str,
    *headers: tuple[str, str],
    body: bytes = b"",
    length: int | bool = True,
    chunks: int = 0,
) -> bytes:
    """A request with a Host; with a Content-Length where there is a body.

    length: another one than the body's, or False for none; chunks: the body goes in so many instead.
    """
    lines = [f"{line} HTTP/1.1", "Host: nexmdm", *(f"{name}: {value}" for name, value in headers)]
    if chunks:
        lines.append("Transfer-Encoding: chunked")
        size = max(1, -(-len(body) // chunks))
        parts = [body[start : start + size] for start in range(0, len(body), size)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])
    elif length is not True and length is not False:
        lines.append(f"Content-Length: {length}")
    elif body and length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def drain(connection: socket.socket) -> bytes:
    """What comes until the service closes. TimeoutError: it does not."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    return received


def answers(received: bytes, heads: int = 0) -> list[Answer]:
    """The bytes of a connection as answers, of which the first `heads` are to HEAD and have no body.

    AssertionError: one has. ValueError: something is no answer, or is not whole.
    """
    found: list[Answer] = []
    while received:
        answer, received = _first(received, to_head=len(found) < heads)
        found.append(answer)
    return found


def _first(received: bytes, *, to_head: bool = False) -> tuple[Answer, bytes]:
    """The first answer and what is behind it."""
    head, separator, rest = received.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    length = int(headers.get("content-length", "0"))
    if to_head:
        assert not rest or rest.startswith(b"HTTP/1.1 "), f"a body after HEAD: {rest[:80]!r}"
        length = 0
    if not separator or len(rest) < length:
        raise ValueError(f"an answer that is cut short: {received[:200]!r}")
    return Answer(int(status_line.split()[1]), headers, rest[:length], 0.0, headers.get("x-request-id")), rest[length:]
