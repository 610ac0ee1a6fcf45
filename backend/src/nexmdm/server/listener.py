"""uvicorn's server with an acceptor of its own: many connections in one turn of the event loop. It reads from none.

libuv, and so uvloop, takes one connection from the listening socket in each turn. Under load a turn takes long, and
whoever comes anew, a probe above all, would wait for seconds in a queue that no limit of ours can see.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any, Final

import uvicorn

STOPPING: Final = "stopping"  # where the lifespan puts an event that is set when the process begins to end
_PER_TURN: Final = 256  # the other workers of the socket want some, too
_NO_DESCRIPTOR_PAUSE_S: Final = 1.0


class ListeningServer(uvicorn.Server):
    """Serves one listening socket, which `serve()` is not told of."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        super().__init__(config)
        self._listener = listener
        self._joining: set[asyncio.Task[Any]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's
        await super().startup(sockets=[])
        self._listener.setblocking(False)
        self._listen()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        if (stopping := self.lifespan.state.get(STOPPING)) is not None:
            stopping.set()
        await asyncio.gather(*self._joining, return_exceptions=True)
        await super().shutdown(sockets=[])

    def _listen(self) -> None:
        if not self.should_exit:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            for _ in range(_PER_TURN):
                with suppress(ConnectionAbortedError):  # it has left the queue by itself
                    joining = loop.create_task(self._join(self._listener.accept()[0]))
                    self._joining.add(joining)
                    joining.add_done_callback(self._joining.discard)
        except (BlockingIOError, InterruptedError):
            return  # another worker was faster, or the queue is empty
        except OSError:  # no descriptor is left: to ask again at once would be all that we do
            loop.remove_reader(self._listener)
            loop.call_later(_NO_DESCRIPTOR_PAUSE_S, self._listen)

    async def _join(self, connection: socket.socket) -> None:
        with suppress(OSError):  # its client has left
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> Any:
        protocol: Any = self.config.http_protocol_class
        return protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
