"""A request of an open loop and what became of it, and who hears of that."""

from __future__ import annotations

from typing import Protocol

from harness.open_loop.connection import Connection


class Carrier(Connection):
    """A connection, and the exchange that has it at present."""

    __slots__ = ("exchange", "idle_since")
    exchange: Exchange | None
    idle_since: float


class Exchange:
    """One request and what became of it. Times are of time.monotonic().

    released: when the loop took it up; sent: when a connection took it, 0.0: none came free; ended: when its response
    was whole, or it was given up. status 0: there was no response, and `trouble` says why. kind and subject are the
    caller's; head (in lower case) and body are of the response.
    """

    __slots__ = (
        "body", "carrier", "data", "due", "ended", "head", "kind", "released", "sent", "status", "subject", "trouble"
    )  # fmt: skip

    def __init__(self, due: float, data: bytes, kind: str = "", subject: int = 0) -> None:
        """data: the whole request; subject: what it is about, such as the number of a device."""
        self.due = due
        self.data = data
        self.kind = kind
        self.subject = subject
        self.released = self.sent = self.ended = 0.0
        self.status = 0
        self.head = self.body = b""
        self.trouble = ""
        self.carrier: Carrier | None = None


class Listener(Protocol):
    """Hears of every exchange. The loop waits for it: it must be quick."""

    def released(self, exchange: Exchange) -> None: ...

    def ended(self, exchange: Exchange) -> float:
        """Returns for how many seconds the connection must rest; 0.0: not at all."""
        ...
