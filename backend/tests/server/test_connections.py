"""A connection costs a bounded place, head and wait; the fast lane's own tests are in test_fast_lane.py."""

from __future__ import annotations

import asyncio
import resource
import socket
import struct
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from support.database import settings_for
from uvicorn.server import ServerState

from nexmdm.http.framing import is_clear
from nexmdm.server import connections
from nexmdm.server.connections import STATE, Connections, connection_capacity
from nexmdm.server.guarded_connection import GuardedConnection

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Served:
    """A listener with two places, and what its application saw."""

    port: int
    guard: Connections

    def __init__(self) -> None:
        self.clients: list[asyncio.StreamWriter] = []
        self.saw: list[bytes | None] = []
        self.failed: list[Exception] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await Request(scope, receive).body()
        except ClientDisconnect:
            self.saw.append(None)
            return
        self.saw.append(body)
        self.headers = list(scope["headers"])
        await self.may_answer.wait()
        try:
            await PlainTextResponse(b"app")(scope, receive, send)
        except Exception as error:
            self.failed.append(error)
            raise

    def open(self) -> int:
        """How many connections have a place."""
        return len(self.guard._open)

    async def connect(self, sent: bytes = b"") -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.clients.append(writer)
        writer.write(sent)
        return reader, writer


@pytest.fixture
def timeout_s() -> float:
    """What `served` allows for a head, and for a stall."""
    return 1


BEYOND_S = 0.5  # every limit of an `impatient` listener
impatient = pytest.mark.parametrize("timeout_s", [0.1], ids=["impatient"])


@pytest.fixture
async def served(timeout_s: float, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(connections, "_SWEEP_S", timeout_s)
    made = Served()
    settings = settings_for(
        "postgresql://u@h/d", max_connections=2, head_timeout_s=timeout_s, stall_timeout_s=timeout_s
    )
    config = uvicorn.Config(made.app, interface="asgi3", http=GuardedConnection, log_config=None, access_log=False)
    config.load()
    async with Connections(settings) as guard:
        made.guard = guard
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


@impatient
async def test_a_slow_body_is_told_so_and_the_application_sees_its_end(served: Served) -> None:
    streams = await served.connect(b"POST / HTTP/1.1\r\nHost: x\r\nX-Request-ID: r-1\r\nContent-Length: 9\r\n\r\n1234")
    answer = await rest(streams)
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b'"code":"request_timeout","request_id":"r-1"' in answer
    assert served.saw == [None]


@impatient
async def test_what_waits_for_us_has_all_the_time(served: Served) -> None:
    served.may_answer.clear()
    streams = await served.connect(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await asyncio.sleep(BEYOND_S)
    served.may_answer.set()
    assert (await rest(streams)).endswith(b"\r\n\r\napp")


@impatient
async def test_an_unfinished_request_does_not_cost_the_one_before_its_answer(served: Served) -> None:
    served.may_answer.clear()
    streams = await served.connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST / HT")
    await asyncio.sleep(BEYOND_S)
    served.may_answer.set()
    answer = await rest(streams)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 ") == 1


@impatient
async def test_who_sends_no_more_is_answered_and_its_place_is_free(served: Served) -> None:
    served.may_answer.clear()
    streams = await served.connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    streams[1].write_eof()
    await asyncio.sleep(BEYOND_S)  # it waits for us
    served.may_answer.set()
    answer = await rest(streams)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\napp")
    assert b"\r\nconnection: close\r\n" in answer
    await asyncio.sleep(0.05)
    assert served.open() == 0


async def test_all_that_was_sent_whole_is_answered_in_order(served: Served) -> None:
    served.may_answer.clear()
    get = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
    post = b"POST / HTTP/1.1\r\nHost: x\r\nX-Request-ID: r-9\r\nContent-Length: 9\r\n\r\n1234"
    streams = await served.connect(get % 1 + get % 2 + post)
    streams[1].write_eof()
    await asyncio.sleep(0.1)
    served.may_answer.set()
    answer = await rest(streams)
    assert [piece[:3] for piece in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"200", b"400"]
    assert b'"code":"malformed_request","request_id":"r-9"' in answer
    assert served.saw == [b"", b"", None]
    assert served.open() == 0


@pytest.mark.parametrize(
    "sent", [b"", b"\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["nothing", "a line", "a request"]
)
async def test_who_wants_nothing_more_is_gone_at_once(served: Served, sent: bytes) -> None:
    streams = await served.connect(sent)
    answer = await asyncio.wait_for(streams[0].readuntil(b"app"), 5) if b"GET" in sent else b""
    streams[1].write_eof()
    assert await asyncio.wait_for(streams[0].read(), 0.9) == b"", answer
    assert served.open() == 0


@pytest.mark.parametrize("stage", ["head", "body"])
async def test_half_a_request_is_over_at_once(served: Served, stage: str) -> None:
    whole = b"POST / HTTP/1.1\r\nHost: x\r\nX-Request-ID: r-1\r\nContent-Length: 9\r\n\r\n123"
    streams = await served.connect(whole if stage == "body" else whole[:30])
    streams[1].write_eof()
    answer = await asyncio.wait_for(streams[0].read(), 0.9)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert served.saw == ([None] if stage == "body" else [])


async def test_who_leaves_while_requests_wait_behind_one_another_is_seen_by_each_that_runs(served: Served) -> None:
    served.may_answer.clear()
    streams = await served.connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
    await asyncio.sleep(0.05)
    sock = streams[1].get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    streams[1].close()
    await asyncio.sleep(0.05)
    assert served.open() == 0
    served.may_answer.set()
    await asyncio.sleep(0.05)
    assert served.failed == []


async def test_what_comes_behind_chunks_is_no_header(served: Served) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nX-A: 1 \r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    streams = await served.connect(head + b"2\r\nab\r\n1\r\nc\r\n0\r\nX-A: 2\r\nAuthorization: Bearer t\r\n\r\n")
    assert (await rest(streams)).startswith(b"HTTP/1.1 200 ")
    assert served.saw == [b"abc"]
    assert served.headers == [
        (b"host", b"x"),
        (b"x-a", b"1"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
    ]


def test_the_bound_is_what_descriptors_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    raised = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    assert (connection_capacity(10_000), raised.pop()) == (4096 - 256, (4096, 4096))
    assert (connection_capacity(1000), raised.pop()) == (1000, (1256, 4096))
    assert (connection_capacity(500), raised) == (500, [])


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
