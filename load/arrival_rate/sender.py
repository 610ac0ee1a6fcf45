"""The process that sends: `python -m load.arrival_rate.sender`, told over the socket that is its stdin.

It is told its config, then legs; it says when it is ready, how far a leg is, and at its end the tally. SIGTERM ends a
leg early, with its tally; it ends when the socket does.
"""

from __future__ import annotations

import gc
import signal
import socket
from contextlib import suppress
from typing import Any, Protocol

import msgpack  # type: ignore[import-untyped]  # it ships no types

from harness.processes.child import allow_descriptors
from load.arrival_rate.catalogue import WORKLOADS
from load.arrival_rate.generator import Generator
from load.arrival_rate.schedule import Leg
from load.arrival_rate.workload import WorkerConfig
from load.measurements.tally import Tally

CONFIG, LEG, READY, PROGRESS, TALLY = "config", "leg", "ready", "progress", "tally"


class OtherSideGoneError(Exception):
    """The socket was closed at its other end."""


class Socket(Protocol):
    """The standard library's, or gevent's."""

    def sendall(self, data: bytes, /) -> None: ...
    def recv(self, size: int, /) -> bytes: ...


class Channel:
    """Messages over a socket: what they are, and their data."""

    def __init__(self, sock: Socket) -> None:
        self._sock = sock
        self._unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=0)  # a tally may have any size

    def send(self, what: str, data: Any) -> None:
        """OtherSideGoneError."""
        try:
            self._sock.sendall(msgpack.packb((what, data)))
        except OSError:
            raise OtherSideGoneError from None

    def receive(self) -> tuple[str, Any]:
        """The next one. OtherSideGoneError."""
        while True:
            for what, data in self._unpacker:
                return what, data
            try:
                received = self._sock.recv(65536)
            except OSError:
                received = b""
            if not received:
                raise OtherSideGoneError
            self._unpacker.feed(received)


def main() -> None:
    """Do what the other side says, until it is gone."""
    allow_descriptors()  # a server that stalls makes the generator open thousands of connections
    sock = socket.socket(fileno=0)
    sock.setblocking(True)  # gevent's are not
    channel = Channel(sock)

    def report(tally: Tally) -> None:
        channel.send(PROGRESS, {"sent": tally.sent, "answered": tally.answered, "failed": tally.failed})

    _, data = channel.receive()
    config = WorkerConfig.from_dict(data)
    workload = WORKLOADS[config.workload]
    generator = Generator(config, workload.requests(config), workload.ledger, report)
    signal.signal(signal.SIGTERM, lambda _number, _frame: generator.stop())
    gc.freeze()  # a collection that looks at every token would be lag
    channel.send(READY, None)
    while True:
        _, data = channel.receive()
        channel.send(TALLY, generator.run(Leg.from_dict(data)).to_dict())


if __name__ == "__main__":
    with suppress(OtherSideGoneError):
        main()
