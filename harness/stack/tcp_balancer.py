"""A plain TCP balancer as a process of its own: several replicas of the backend behind one address, in turn.

A replica that refuses the connection is passed over; with none left the client's connection is closed. It reads no
HTTP, so a connection stays with its replica and ends with it, as behind a cloud's network balancer.
Run alone: `python -m harness.stack.tcp_balancer --port 0 HOST:PORT [HOST:PORT ...]` prints one JSON line {url}.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Sequence
from urllib.parse import urlsplit

from harness.processes.announcing import AnnouncingChild, announce, until_stopped
from harness.settings import HarnessError

_CONNECT_WITHIN_S = 2.0
_BLOCK = 65536


class BalancerError(HarnessError):
    """The balancer did not start. The message ends with its last words."""


class Balancer(AnnouncingChild):
    """The balancer as a child process of the harness; `.url` is where clients go."""

    url: str

    @classmethod
    def start(cls, replicas: Sequence[str]) -> Balancer:
        """Start it before these base URLs, none of which needs to answer yet. Raises BalancerError."""
        balancer = cls("harness.stack.tcp_balancer", "the balancer", error=BalancerError)
        balancer.launch("--port", "0", *(urlsplit(url).netloc for url in replicas))
        balancer.url = balancer.wait_ready()["url"]
        return balancer


class _Turns:
    """Whom the next connection goes to."""

    def __init__(self, replicas: Sequence[tuple[str, int]]) -> None:
        self._replicas = list(replicas)
        self._next = 0

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection to the next replica that takes one; None: none does."""
        first = self._next
        self._next = (first + 1) % len(self._replicas)
        for host, port in self._replicas[first:] + self._replicas[:first]:
            with contextlib.suppress(OSError, TimeoutError):
                return await asyncio.wait_for(asyncio.open_connection(host, port), _CONNECT_WITHIN_S)
        return None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, to its end."""
        found = await self.connect()
        if found is not None:
            there_reader, there_writer = found
            await asyncio.gather(_pass_on(reader, there_writer), _pass_on(there_reader, writer))
        writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes of one direction until its end; the other side is told of it."""
    with contextlib.suppress(OSError):
        while block := await reader.read(_BLOCK):
            writer.write(block)
            await writer.drain()
    writer.close()


async def _serve(port: int, replicas: Sequence[tuple[str, int]]) -> None:
    server = await asyncio.start_server(_Turns(replicas).serve, "127.0.0.1", port, backlog=1024)
    announce(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await until_stopped()
    server.close()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host, int(port)


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.stack.tcp_balancer", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument("replicas", nargs="+", type=_address, metavar="HOST:PORT", help="where connections go, in turn")
    given = parser.parse_args()
    asyncio.run(_serve(given.port, given.replicas))


if __name__ == "__main__":
    main()
