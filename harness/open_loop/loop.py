"""An open-loop load generator: prepared HTTP/1.1 requests, each sent when it is due, over kept connections.

A request is due whatever became of those before it; one that finds no free connection waits for one, and its wait
counts. There is one epoll loop, and no thread or task per request. It judges nothing.
"""

from __future__ import annotations

import contextlib
import heapq
import select
import socket
import time
from collections import deque
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from harness.http import tls
from harness.open_loop.connection import Response
from harness.open_loop.exchange import Carrier, Exchange, Listener

_IDLE_S: Final = 1.0  # a server may close an idle connection; what is sent at that very moment would be lost
_MOST_WAIT_S: Final = 0.02  # between two looks at time-outs and at `stop`
_MOST_AT_ONCE: Final = 64  # requests sent, or responses read, before it is the other's turn


class OpenLoop:
    """Connections to one server, and the loop; the connection used last is used first.

    busiest: the most exchanges that had a connection at once; may be set back.
    """

    def __init__(self, base_url: str, *, connections: int = 2000, timeout_s: float = 10.0) -> None:
        """base_url: http or https, without a path; timeout_s: from the release of a request to its whole response."""
        parts = urlsplit(base_url)
        self._tls = tls.context() if parts.scheme == "https" else None
        self._name = parts.hostname or ""
        self._family, self._address = _resolve(self._name, parts.port or (443 if self._tls else 80))
        self._most, self._timeout_s = connections, timeout_s
        self._poll = select.epoll()
        self._open: dict[int, Carrier] = {}
        self._idle: list[Carrier] = []
        self._waiting: deque[Exchange] = deque()
        self._by_release: deque[Exchange] = deque()
        self._later: list[tuple[float, int, Exchange]] = []
        self._resting: list[tuple[float, int, Carrier]] = []
        self._unended = self._busy = self._pushed = self.busiest = 0
        self._stopped = False

    def run(
        self, requests: Iterable[Exchange], listener: Listener, *, window: int = 0, until: float | None = None
    ) -> int:
        """Send them, in order of time, and return when all have ended.

        window: so many may be unended, then the next one is released late; 0: none ever waits to be released.
        until: the run ends then and not before; what has not ended by then, ends in the next run.
        Returns how many never found a connection: they end in no run.
        """
        self._listener, self._stopped = listener, False
        upcoming = iter(requests)
        due = next(upcoming, None)
        while not self._stopped:
            now, released = time.monotonic(), 0
            while due is not None and due.due <= now and released < _MOST_AT_ONCE:
                if window and self._unended >= window:
                    break
                self._release(due)
                due = next(upcoming, None)
                released += 1
            while self._later and self._later[0][0] <= now:
                self._release(heapq.heappop(self._later)[2])
            while self._resting and self._resting[0][0] <= now:
                self._free(heapq.heappop(self._resting)[2])
            self._give_up(now - self._timeout_s)
            if due is None and (now >= until if until is not None else not (self._unended or self._later)):
                break
            wait_s = _MOST_WAIT_S
            if due is not None and not (window and self._unended >= window):
                wait_s = min(wait_s, due.due - time.monotonic())
            self._serve(wait_s)
        return self._drop_waiting()

    def later(self, exchange: Exchange) -> None:
        """Send one more when it is due; for a listener that decides so."""
        self._pushed += 1
        heapq.heappush(self._later, (exchange.due, self._pushed, exchange))

    def stop(self) -> None:
        """End the run within a few hundredths of a second; a signal handler may call it."""
        self._stopped = True

    def close(self) -> None:
        """Close every connection."""
        for carrier in list(self._open.values()):
            self._close(carrier)
        self._poll.close()

    def _serve(self, wait_s: float) -> None:
        """Read what has come; where nothing has, wait for it."""
        # epoll waits for whole milliseconds, select for microseconds.
        if wait_s > 0 and not select.select((self._poll,), (), (), wait_s)[0]:
            return
        for number, _ in self._poll.poll(0, _MOST_AT_ONCE):
            carrier = self._open[number]
            try:
                response = carrier.turn()
            except (OSError, ValueError) as error:
                self._lose(carrier, _told(error))
                continue
            if response is not None:
                self._answered(carrier, response)

    def _release(self, exchange: Exchange) -> None:
        exchange.released = time.monotonic()
        self._unended += 1
        self._by_release.append(exchange)
        self._listener.released(exchange)
        while self._idle:
            carrier = self._idle.pop()
            if not carrier.is_open:
                continue
            if exchange.released - carrier.idle_since < _IDLE_S:
                self._send(carrier, exchange)
                return
            for older in (carrier, *self._idle):
                self._close(older)
            self._idle.clear()
        if len(self._open) < self._most:
            self._send(self._new(), exchange)
        else:
            self._waiting.append(exchange)

    def _new(self) -> Carrier:
        carrier = Carrier(self._poll, self._family, self._address, self._tls, self._name)
        self._open[carrier.number] = carrier
        return carrier

    def _send(self, carrier: Carrier, exchange: Exchange) -> None:
        carrier.exchange, exchange.carrier = exchange, carrier
        exchange.sent = time.monotonic()
        self._busy += 1
        self.busiest = max(self.busiest, self._busy)
        try:
            carrier.send(exchange.data)
        except OSError as error:
            self._lose(carrier, _told(error))

    def _answered(self, carrier: Carrier, response: Response) -> None:
        exchange, carrier.exchange = carrier.exchange, None
        if exchange is None:  # nothing was asked
            self._close(carrier)
            return
        exchange.status, exchange.head, exchange.body, stays = response
        rest_s = self._end(exchange)
        if not stays:
            self._close(carrier)
            self._replace()
        elif rest_s > 0:
            self._pushed += 1
            heapq.heappush(self._resting, (exchange.ended + rest_s, self._pushed, carrier))
        else:
            self._free(carrier)

    def _end(self, exchange: Exchange) -> float:
        exchange.ended = time.monotonic()
        self._unended -= 1
        if exchange.carrier is not None:
            exchange.carrier = None
            self._busy -= 1
        return self._listener.ended(exchange)

    def _free(self, carrier: Carrier) -> None:
        """For the exchange that has waited longest, or for the next one."""
        if not carrier.is_open:
            return
        if (exchange := self._next_waiting()) is not None:
            self._send(carrier, exchange)
        else:
            carrier.idle_since = time.monotonic()
            self._idle.append(carrier)

    def _lose(self, carrier: Carrier, trouble: str) -> None:
        exchange, carrier.exchange = carrier.exchange, None
        self._close(carrier)
        if exchange is not None:
            exchange.trouble = trouble
            self._end(exchange)
            self._replace()

    def _replace(self) -> None:
        """A connection has ended: an exchange that waits may have another."""
        if (exchange := self._next_waiting()) is not None:
            self._send(self._new(), exchange)

    def _next_waiting(self) -> Exchange | None:
        while self._waiting:
            exchange = self._waiting.popleft()
            if not exchange.ended:
                return exchange
        return None

    def _close(self, carrier: Carrier) -> None:
        self._open.pop(carrier.number, None)
        carrier.close()

    def _give_up(self, oldest: float) -> None:
        """End what was released before `oldest`."""
        while self._by_release and (self._by_release[0].ended or self._by_release[0].released < oldest):
            exchange = self._by_release.popleft()
            if exchange.ended:
                continue
            trouble = f"no response within {self._timeout_s:g} s"
            if exchange.carrier is not None:
                self._lose(exchange.carrier, trouble)
            else:
                exchange.trouble = trouble
                self._end(exchange)

    def _drop_waiting(self) -> int:
        dropped = 0
        while (exchange := self._next_waiting()) is not None:
            exchange.ended = time.monotonic()
            self._unended -= 1
            dropped += 1
        self._later.clear()
        return dropped


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Where to connect to: of several addresses the first that accepts a connection."""
    resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found = [(family, (str(address[0]), int(address[1]))) for family, _, _, _, address in resolved]
    for family, address in found if len(found) > 1 else ():
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=1.0):
            return family, address
    return found[0]
