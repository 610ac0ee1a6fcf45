"""A tiny server in a process of its own, which counts heartbeats: `python -m load.tests.counting_server [STATUS [N]]`.

It announces its URL, answers every heartbeat with 200, from beat N on with STATUS, and GET /metrics with
the count of those that it answered with 200. It checks nothing.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

from harness.processes.announcing import announce

HEAD = "HTTP/1.1 {} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}"
STATUS = int(sys.argv[1]) if len(sys.argv) > 1 else 200
AFTER = int(sys.argv[2]) if len(sys.argv) > 2 else 0


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
        if STATUS != 200 and Server.beats >= AFTER:
            if STATUS == 0:
                sys.exit(1)
            return HEAD.format(STATUS, 2, "{}")
        Server.beats += 1
        return HEAD.format(200, 2, "{}")


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=2048)
    announce(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
