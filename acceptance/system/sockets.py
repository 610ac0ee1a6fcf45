"""A bare connection to the service: bytes as they are written here, and every answer that comes back.

Does not repair what it sends, as HTTP clients do, and judges nothing.
"""

import contextlib
import socket
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
        with self.connect() as connection:
            with contextlib.suppress(ConnectionError):  # who is refused early may find the door shut
                connection.sendall(sent)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
            return drain(connection)

    def exchange(self, sent: bytes, *, half_close: bool = False) -> list[Answer]:
        """The same as answers."""
        return answers(self.raw(sent, half_close=half_close))


def request(line: str, *headers: tuple[str, str], body: bytes = b"", length: bool = True) -> bytes:
    """A request with a Host; with a Content-Length where there is a body, unless told otherwise."""
    lines = [f"{line} HTTP/1.1", "Host: nexmdm", *(f"{name}: {value}" for name, value in headers)]
    if body and length:
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
        head, separator, rest = received.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(found) < heads:
            assert not rest or rest.startswith(b"HTTP/1.1 "), f"a body after HEAD: {rest[:80]!r}"
            length = 0
        if not separator or len(rest) < length:
            raise ValueError(f"an answer that is cut short: {received[:200]!r}")
        found.append(Answer(int(status_line.split()[1]), headers, rest[:length], 0.0, headers.get("x-request-id")))
        received = rest[length:]
    return found
