"""A plain TCP balancer as a process of its own: several replicas of the backend behind one address, in turn.

A replica that refuses the connection is passed over; with none left the client's connection is closed. It deliberately
reads no HTTP, so a connection stays with its replica and ends with it, as behind a cloud's network balancer.
Run alone: `python -m harness.stack.tcp_balancer --port 0 HOST:PORT [HOST:PORT ...]` prints one JSON line {url}.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from harness.processes.child import (
    Child,
    ChildEndedError,
    announced,
    bare_environment,
    last_lines,
    python_module,
    workspace,
)
from harness.settings import HarnessError
from harness.waiting import WaitTimeout

_START_WITHIN_S = 20.0
_CONNECT_WITHIN_S = 2.0
_BLOCK = 65536


class BalancerError(HarnessError):
    """The balancer did not start. The message ends with its last words."""


class Balancer:
    """The balancer as a child process of the harness; `.url` is where clients go."""

    def __init__(self, replicas: Sequence[str]) -> None:
        """Use `start`."""
        self._replicas = [urlsplit(url).netloc for url in replicas]
        self._folder = workspace("balancer")
        self._child: Child | None = None
        self.url = ""

    @classmethod
    def start(cls, replicas: Sequence[str]) -> Balancer:
        """Start it before these base URLs, none of which needs to answer yet. Raises BalancerError."""
        balancer = cls(replicas)
        balancer._launch()
        return balancer

    @property
    def pid(self) -> int:
        """Process id. BalancerError when it does not run."""
        if self._child is None:
            raise BalancerError("the balancer does not run")
        return self._child.pid

    def stop(self) -> None:
        """End the process, and every connection through it; safe to call twice."""
        child, self._child = self._child, None
        if child is not None:
            child.stop(2.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _launch(self) -> None:
        said, words = self._folder / "stdout", self._folder / "stderr"
        with said.open("wb") as stdout, words.open("wb") as stderr:
            command, env = python_module("harness.stack.tcp_balancer")
            child = self._child = Child(
                [*command, "--port", "0", *self._replicas], env=bare_environment(env), stdout=stdout, stderr=stderr
            )

        try:
            self.url = json.loads(announced(child, said, _START_WITHIN_S, what="the balancer"))["url"]
        except ChildEndedError as error:
            raise BalancerError(f"{error}\n{last_lines(words)}") from None
        except WaitTimeout as error:
            self.stop()
            raise BalancerError(f"{error}\n{last_lines(words)}") from None


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
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    sys.stdout.write(json.dumps({"url": url}) + "\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
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
