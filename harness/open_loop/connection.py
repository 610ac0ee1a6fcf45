"""One HTTP/1.1 connection that never blocks: bytes of a request go out, a whole response comes in, one at a time.

A response is read by its Content-Length alone: no compression, no chunked body, no redirect, and no second attempt.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
from typing import Final, NamedTuple

_PIECE: Final = 16_384
_NOT_YET: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Response(NamedTuple):
    """head: the status line and the fields, in lower case; stays: whether another request may follow."""

    status: int
    head: bytes
    body: bytes
    stays: bool


class Connection:
    """It registers itself with the epoll object; call `turn` whenever that reports `number`."""

    __slots__ = ("_name", "_poll", "_received", "_sock", "_tls", "_unsent", "_wanted", "is_open", "number", "ready")

    def __init__(
        self,
        poll: select.epoll,
        family: socket.AddressFamily,
        address: tuple[str, int],
        tls: ssl.SSLContext | None = None,
        name: str = "",
    ) -> None:
        """Begin to connect. name: the host that the certificate must be for."""
        self._sock = socket.socket(family)
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.connect_ex(address)  # its outcome comes as an event
        self._poll, self._tls, self._name = poll, tls, name
        self.number = self._sock.fileno()
        self.is_open, self.ready = True, False
        self._received = bytearray()
        self._unsent = b""
        self._wanted = 0  # the length of the whole response, where its head has come
        poll.register(self.number, select.EPOLLOUT)

    def send(self, request: bytes) -> None:
        """Send a whole request as soon as the connection is made. OSError: it is lost."""
        self._unsent = request
        if self.ready:
            self._write()

    def turn(self) -> Response | None:
        """Do what can be done now. OSError: the connection is refused or lost; ValueError: this is no response."""
        try:
            if not self.ready:
                self._establish()
                return None
            if self._unsent:
                self._poll.modify(self.number, select.EPOLLIN)
                self._write()
            received = self._sock.recv(_PIECE)
            while isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
                received += self._sock.recv(_PIECE)
        except _NOT_YET:
            return None
        if not received:
            raise ConnectionResetError("closed before the end of a response")
        if self._received:
            self._received += received
            if len(self._received) < self._wanted:
                return None
            received = bytes(self._received)
        return self._parse(received)

    def close(self) -> None:
        """Close it; harmless when it is closed."""
        self.is_open = False
        self._sock.close()

    def _establish(self) -> None:
        """The TCP connection is made, or was refused; then TLS, in as many turns as it takes."""
        if error := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))
        self._poll.modify(self.number, select.EPOLLIN)
        if self._tls is not None:
            if not isinstance(self._sock, ssl.SSLSocket):
                self._sock = self._tls.wrap_socket(
                    self._sock, server_hostname=self._name, do_handshake_on_connect=False
                )
            assert isinstance(self._sock, ssl.SSLSocket)
            self._sock.do_handshake()
        self.ready = True
        if self._unsent:
            self._write()

    def _write(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except _NOT_YET:
            sent = 0
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._poll.modify(self.number, select.EPOLLIN | select.EPOLLOUT)

    def _parse(self, received: bytes) -> Response | None:
        end = received.find(b"\r\n\r\n")
        if end >= 0:
            head = received[:end].lower()
            status, length = status_of(head), length_of(head)
            self._wanted = end + 4 + length
            if len(received) == self._wanted:
                self._received, self._wanted = bytearray(), 0
                stays = b"\r\nconnection: close" not in head and head.startswith(b"http/1.1")
                return Response(status, head, received[end + 4 :], stays)
            if len(received) > self._wanted:
                raise ValueError("more came than one response")
        self._received = bytearray(received)
        return None


def status_of(head: bytes) -> int:
    """Of a head in lower case. ValueError: it is no final response of HTTP/1."""
    status = head[9:12]
    if not head.startswith((b"http/1.1 ", b"http/1.0 ")) or not status.isdigit() or not b"200" <= status <= b"599":
        raise ValueError(f"no final response of HTTP/1: {head[:40]!r}")
    return int(status)


def length_of(head: bytes) -> int:
    """How long the body is. ValueError: the head does not say so by exactly one Content-Length."""
    if head[9:12] in (b"204", b"304"):
        return 0
    at = head.find(b"\r\ncontent-length:")
    if at < 0 or b"\r\ntransfer-encoding:" in head:
        raise ValueError("a response without Content-Length")
    length = head[at + 17 :].partition(b"\r\n")[0].strip()
    if not length.isdigit() or head.find(b"\r\ncontent-length:", at + 17) >= 0:
        raise ValueError(f"an unclear Content-Length: {length[:40]!r}")
    return int(length)
