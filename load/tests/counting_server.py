"""A tiny server in a process of its own, which counts heartbeats: `python -m load.tests.counting_server [STATUS [N]]`.

It announces its URL, answers every heartbeat with 200, from beat N on with STATUS, and GET /metrics with the count of
those that it answered with 200. With --key it answers a token with 401 that this key has not made; with --host it is to
be reached at that address.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import uuid
from typing import cast

from harness.devices.seeded_fleet import device_token
from harness.processes.announcing import announce

_options = argparse.ArgumentParser()
_options.add_argument("status", type=int, nargs="?", default=200)
_options.add_argument("after", type=int, nargs="?", default=0)
_options.add_argument("--key", default="")
_options.add_argument("--host", default="127.0.0.1")
GIVEN = _options.parse_args()
HEAD = "HTTP/1.1 {} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}"


class Server(asyncio.Protocol):
    beats = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.received = cast(asyncio.Transport, transport), b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, rest = self.received.partition(b"\r\n\r\n")
            length = next((int(f[15:]) for f in head.lower().split(b"\r\n") if f.startswith(b"content-length:")), 0)
            if len(rest) < length:
                return
            self.received = rest[length:]
            self.transport.write(self.answer(head).encode())

    def answer(self, head: bytes) -> str:
        if head.startswith(b"GET"):
            body = f'nexmdm_heartbeats_total{{result="ingested"}} {Server.beats}\n'
            return HEAD.format(200, len(body), body)
        if GIVEN.status != 200 and Server.beats >= GIVEN.after:
            if GIVEN.status == 0:
                sys.exit(1)
            return HEAD.format(GIVEN.status, 2, "{}")
        if GIVEN.key and not _is_genuine(head):
            return HEAD.format(401, 2, "{}")
        Server.beats += 1
        return HEAD.format(200, 2, "{}")


def _is_genuine(head: bytes) -> bool:
    token = head.partition(b"Bearer ")[2].partition(b"\r\n")[0].decode()
    _, device, secret = token[:-11].split("_", 2)
    return token == device_token(GIVEN.key.encode(), uuid.UUID(device), secret)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Server, GIVEN.host, 0, backlog=2048)
    announce(url=f"http://{GIVEN.host}:{server.sockets[0].getsockname()[1]}")
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
