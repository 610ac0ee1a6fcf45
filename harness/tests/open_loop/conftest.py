"""Servers that answer as they are told, and a listener that keeps everything it hears."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pytest

from harness.open_loop.exchange import Exchange
from harness.open_loop.loop import OpenLoop
from harness.tests.fronts import listening

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
ASKED = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Server:
    """A connection per thread; each request is answered with the pieces that `answer` says."""

    def __init__(self, *pieces: bytes, stall_s: float = 0.0, then_hang_up: bool = False) -> None:
        self.pieces, self.stall_s, self.then_hang_up = pieces, stall_s, then_hang_up
        self.connections = 0

    def __call__(self, sock: socket.socket) -> None:
        self.connections += 1
        while sock.recv(65536):
            threading.Event().wait(self.stall_s)
            for number, piece in enumerate(self.pieces):
                threading.Event().wait(0.01 if number else 0)
                sock.sendall(piece)
            if self.then_hang_up:
                return


class Heard:
    """A listener that keeps everything."""

    def __init__(self, rest_s: float = 0.0) -> None:
        self.released_: list[Exchange] = []
        self.ended_: list[Exchange] = []
        self.rest_s = rest_s

    def released(self, exchange: Exchange) -> None:
        self.released_.append(exchange)

    def ended(self, exchange: Exchange) -> float:
        self.ended_.append(exchange)
        return self.rest_s

    @property
    def statuses(self) -> Counter[int]:
        return Counter(exchange.status for exchange in self.ended_)


Run = Callable[..., tuple[Heard, OpenLoop]]


@pytest.fixture
def run() -> Iterator[Run]:
    loops: list[OpenLoop] = []

    def _run(
        server: Server,
        n: int = 10,
        per_s: float = 200,
        *,
        rest_s: float = 0.0,
        window: int = 0,
        requests: Iterable[Exchange] | None = None,
        **options: float,
    ) -> tuple[Heard, OpenLoop]:
        heard = Heard(rest_s)
        with listening(server) as port:
            loops.append(OpenLoop(f"http://127.0.0.1:{port}", **options))  # type: ignore[arg-type]
            loops[-1].run(requests or plan(n, per_s), heard, window=window)
        return heard, loops[-1]

    yield _run
    for loop in loops:
        loop.close()


def plan(n: int, per_s: float, data: bytes = ASKED) -> Iterator[Exchange]:
    began = time.monotonic()
    for number in range(n):
        yield Exchange(began + number / per_s, data, "read", number)
