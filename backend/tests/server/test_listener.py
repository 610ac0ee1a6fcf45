"""The acceptor takes many connections in a turn, outlives what accept() may say, and leaves none behind."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from nexmdm.server.listener import ListeningServer

CROWD = 500
ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("here")(scope, receive, send)


class Listener(socket.socket):
    """A listening socket whose next calls of accept() fail as they are told to."""

    failures: list[OSError]

    def accept(self) -> tuple[socket.socket, Any]:
        if self.failures:
            raise self.failures.pop(0)
        return super().accept()


@pytest.fixture
def listener() -> Listener:
    listener = Listener()
    listener.failures = []
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    return listener


@asynccontextmanager
async def serving(listener: Listener) -> AsyncIterator[ListeningServer]:
    config = uvicorn.Config(app, interface="asgi3", http="httptools", lifespan="off", log_config=None)
    server = ListeningServer(config, listener)
    task = asyncio.create_task(server.serve())
    try:
        yield server
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 10)


async def ask(connection: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    connection.setblocking(False)
    await loop.sock_sendall(connection, ASK)
    answer = b""
    while not answer.endswith(b"here"):
        answer += await asyncio.wait_for(loop.sock_recv(connection, 4096), 5)
    return answer


def connected(listener: Listener, count: int) -> list[socket.socket]:
    return [socket.create_connection(listener.getsockname()) for _ in range(count)]


async def test_a_crowd_at_the_door_is_let_in_within_a_few_turns(listener: Listener) -> None:
    crowd = connected(listener, CROWD)
    turns = 0

    async with serving(listener) as server:
        while len(server.server_state.connections) < CROWD:
            turns += 1
            await asyncio.sleep(0)
            assert turns < CROWD / 2, "one in each turn"
        assert (await ask(crowd[-1])).startswith(b"HTTP/1.1 200")
        for connection in crowd:
            connection.close()


@pytest.mark.parametrize("failure", [ConnectionAbortedError(), InterruptedError(), BlockingIOError()])
async def test_a_connection_that_is_gone_before_it_is_taken_costs_no_other(
    failure: OSError, listener: Listener
) -> None:
    listener.failures = [failure]
    [connection] = connected(listener, 1)
    async with serving(listener):
        assert (await ask(connection)).endswith(b"here")
        connection.close()


async def test_without_descriptors_it_pauses_and_goes_on(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexmdm.server.listener._NO_DESCRIPTOR_PAUSE_S", 0.05)
    listener.failures = [OSError(errno.EMFILE, "too many open files")]
    [connection] = connected(listener, 1)
    async with serving(listener):
        assert (await ask(connection)).endswith(b"here")
        connection.close()


async def test_when_it_ends_nobody_is_let_in_any_more(listener: Listener) -> None:
    address = listener.getsockname()
    async with serving(listener) as server:
        [connection] = connected(listener, 1)
        await ask(connection)
        connection.close()
    assert not server.server_state.connections
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
