"""A connection costs a bounded place, head and wait; the fast lane's own tests are in test_lane.py."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator

import pytest
import uvicorn
from kernel import settings_for
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from nexmdm.connections import STATE, Connections, GuardedConnection, places
from nexmdm.framing import is_clear

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Served:
    """A listener with two places, a second for a head and one for a stall, and what its application saw."""

    port: int

    def __init__(self) -> None:
        self.clients: list[asyncio.StreamWriter] = []
        self.saw: list[bytes | None] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await Request(scope, receive).body()
        except ClientDisconnect:
            self.saw.append(None)
            return
        self.saw.append(body)
        await self.may_answer.wait()
        await PlainTextResponse(b"app")(scope, receive, send)

    async def connect(self, sent: bytes = b"") -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.clients.append(writer)
        writer.write(sent)
        return reader, writer


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    made = Served()
    settings = settings_for("postgresql://u@h/d", max_connections=2, head_timeout_s=1, stall_timeout_s=1)
    config = uvicorn.Config(made.app, interface="asgi3", http=GuardedConnection, log_config=None, access_log=False)
    config.load()
    async with Connections(settings) as guard:
        state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: GuardedConnection(config, state, {STATE: guard}), "127.0.0.1", 0, start_serving=True
        )
        made.port = server.sockets[0].getsockname()[1]
        yield made
        server.close()
        for client in made.clients:
            client.close()
        await asyncio.sleep(0.05)  # until the server has seen it


async def rest(streams: Streams) -> bytes:
    """What comes until the server closes."""
    return await asyncio.wait_for(streams[0].read(), 5)


async def test_a_place_is_free_again_when_its_connection_ends(served: Served) -> None:
    one, other = await served.connect(), await served.connect()
    await asyncio.sleep(0.05)
    assert await rest(await served.connect()) == b""
    one[1].close()
    await asyncio.sleep(0.05)
    again = await served.connect(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await rest(again)).startswith(b"HTTP/1.1 200 ")
    other[1].close()


async def test_a_slow_body_is_told_so_and_the_application_sees_its_end(served: Served) -> None:
    streams = await served.connect(b"POST / HTTP/1.1\r\nHost: x\r\nX-Request-ID: r-1\r\nContent-Length: 9\r\n\r\n1234")
    answer = await rest(streams)
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b'"code":"request_timeout","request_id":"r-1"' in answer
    assert served.saw == [None]


async def test_what_waits_for_us_has_all_the_time(served: Served) -> None:
    served.may_answer.clear()
    streams = await served.connect(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await asyncio.sleep(3)
    served.may_answer.set()
    assert (await rest(streams)).endswith(b"\r\n\r\napp")


async def test_an_unfinished_request_does_not_cost_the_one_before_its_answer(served: Served) -> None:
    served.may_answer.clear()
    streams = await served.connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST / HT")
    await asyncio.sleep(3)
    served.may_answer.set()
    answer = await rest(streams)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_the_bound_is_what_descriptors_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    raised = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    assert (places(10_000), raised.pop()) == (4096 - 256, (4096, 4096))
    assert (places(1000), raised.pop()) == (1000, (1256, 4096))
    assert (places(500), raised) == (500, [])


@pytest.mark.parametrize(
    "version,headers,clear",
    [
        ("1.1", {"host": [b"x"]}, True),
        ("1.1", {"host": [b"x"], "transfer-encoding": [b"Chunked"]}, True),
        ("1.1", {}, False),
        ("1.1", {"host": [b"x", b"x"]}, False),
        ("1.1", {"host": [b"x"], "transfer-encoding": [b"identity", b"chunked"]}, False),
        ("1.1", {"host": [b"x"], "transfer-encoding": [b"gzip, chunked"]}, False),
        ("1.0", {}, True),
        ("1.0", {"host": [b"x", b"y"]}, False),
        ("1.0", {"transfer-encoding": [b"chunked"]}, False),
        ("0.9", {}, False),
        ("2.0", {"host": [b"x"]}, False),
    ],
)
def test_what_is_clear(version: str, headers: dict[str, list[bytes]], clear: bool) -> None:
    pairs = [(name.encode(), value) for name, values in headers.items() for value in values]
    assert is_clear({"http_version": version, "headers": pairs}) is clear
