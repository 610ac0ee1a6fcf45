"""HTTP/1.1 for a load generator: a request is bytes that were made before, an answer is read for its status alone.

It knows no redirect, no compression, no chunked body, and no second attempt: a request that a client
repeats on its own would be a heartbeat that nobody planned. A general client costs five times as much per request,
which on a shared machine the server would have to pay.
"""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from gevent import socket, ssl
from gevent.lock import Semaphore

from harness.http import tls

MOST_CONNECTIONS = 2000
_IDLE_S = 1.0  # a server may close a connection that idles; what it closes at this very moment would be a lost beat


class NoAnswer(Exception):
    """The connection was refused or lost, or what came back was no HTTP answer that we know. The message is short."""


class Connections:
    """Kept connections to one server; the one used last is used first. `busiest`: the most that were in use at once."""

    def __init__(self, base_url: str, most: int = MOST_CONNECTIONS) -> None:
        """base_url: http or https, without a path."""
        parts = urlsplit(base_url)
        self._tls = tls.context(ssl.SSLContext) if parts.scheme == "https" else None
        self.address = (parts.hostname or "", parts.port or (443 if self._tls else 80))
        self._free = Semaphore(most)
        self._idle: list[tuple[float, socket.socket]] = []
        self._busy = 0
        self.busiest = 0

    def ask(self, request: bytes) -> int:
        """Send a whole request, wait for the whole answer, return its status. NoAnswer.

        It has no time-out of its own: the caller's gevent.Timeout ends it, and closes the connection.
        """
        with self._free:
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
            connection: socket.socket | None = None
            try:
                connection = self._take()
                connection.sendall(request)
                status, stays = _read(connection)
            except (OSError, ValueError) as error:
                _close(connection)
                raise NoAnswer(f"{type(error).__name__}: {error}"[:200]) from error
            except BaseException:  # the time-out, or the end of the run
                _close(connection)
                raise
            finally:
                self._busy -= 1
            if stays:
                self._idle.append((time.monotonic(), connection))
            else:
                connection.close()
            return status

    def _take(self) -> socket.socket:
        if self._idle:
            since, connection = self._idle.pop()
            if time.monotonic() - since < _IDLE_S:
                return connection
            connection.close()
            self.close()  # the others idle for even longer
        connection = socket.create_connection(self.address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection if self._tls is None else self._tls.wrap_socket(connection, server_hostname=self.address[0])

    def close(self) -> None:
        """Close all that are idle."""
        for _, connection in self._idle:
            connection.close()
        self._idle.clear()


def _close(connection: socket.socket | None) -> None:
    if connection is not None:
        connection.close()


def _read(connection: socket.socket) -> tuple[int, bool]:
    """The status of one answer, and whether the connection stays open after it."""
    received = b""
    while b"\r\n\r\n" not in received:
        received = _more(connection, received)
    head, _, body = received.partition(b"\r\n\r\n")
    first, _, fields = head.lower().partition(b"\r\n")
    status = int(first.split(b" ", 2)[1]) if first.startswith(b"http/1.") else 0
    if not 200 <= status <= 599:
        raise ValueError(f"no final answer of HTTP/1: {first[:40]!r}")
    declared = next((f for f in fields.split(b"\r\n") if f.startswith(b"content-length:")), None)
    if declared is None:
        raise ValueError("an answer without Content-Length")
    length = int(declared[15:])
    while len(body) < length:
        body = _more(connection, body)
    if len(body) > length:
        raise ValueError("more came than the answer's Content-Length")
    return status, b"connection: close" not in fields


def _more(connection: socket.socket, so_far: bytes) -> bytes:
    block = connection.recv(65536)
    if not block:
        raise ConnectionResetError("closed before the end of an answer")
    return so_far + block
