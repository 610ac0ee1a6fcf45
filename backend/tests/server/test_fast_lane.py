"""The fast lane answers what is plain and taken; whatever is odd, wrong or lost is the application's, as it came."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from nexmdm.http.fast_path import Begun
from nexmdm.kernel.problems import OVERLOADED, Problem
from nexmdm.server.fast_lane import LAG, PROBE, STATE, FastLane

PLAIN = {"Host": "x", "Authorization": "Bearer t", "Content-Type": "application/json", "X-Request-ID": "r-1"}


class Endpoint:
    """Takes every body but `no`, and `full` is too much; its results are the test's to give."""

    path = "/fast"

    def __init__(self) -> None:
        self.begun: list[tuple[str, bytes, str | None]] = []
        self.results: list[asyncio.Future[Any]] = []
        self.at_once: Callable[[asyncio.Future[Any]], Any] | None = lambda result: result.set_result(b"{}")

    def begin(self, token: str, body: bytes, ip: str | None) -> Begun | Problem | None:
        if body == b"no":
            return None
        if body == b"full":
            return Problem(OVERLOADED, headers={"Retry-After": "7"})
        self.begun.append((token, body, ip))
        result = asyncio.get_running_loop().create_future()
        self.results.append(result)
        if self.at_once is not None:
            self.at_once(result)
        return result, lambda answer: answer


class Probe:
    """Knows what to say unless it is told not to."""

    path = "/probe"
    said: bytes | None = b'{"status":"ok"}'

    def body(self) -> bytes | None:
        return self.said


class Behind:
    """An event loop whose lag is the test's to say."""

    behind = False

    def is_over_budget(self, _now: float) -> bool:
        return self.behind


class Lane:
    """A listener with the lane, an application that says what it got, and a client on a raw socket."""

    port: int

    def __init__(self) -> None:
        self.endpoint, self.probe, self.lag = Endpoint(), Probe(), Behind()
        self.state = ServerState()
        self.application: list[bytes | None] = []
        self.troubles: list[dict[str, Any]] = []

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await Request(scope, receive).body()
        except ClientDisconnect:
            self.application.append(None)
            return
        self.application.append(body)
        await PlainTextResponse(b"app " + body)(scope, receive, send)

    async def until(self, happened: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not happened():  # noqa: ASYNC110  # what is waited for is uvicorn's, which tells nobody
                await asyncio.sleep(0.001)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, raw: bytes) -> tuple[bytes, bytes]:
        """Head and body of the answer to one request."""
        reader, writer = await self.connect()
        writer.write(raw)
        answer = await read_answer(reader)
        writer.close()
        return answer


@pytest.fixture
async def lane() -> AsyncIterator[Lane]:
    async with serving() as made:
        yield made


@asynccontextmanager
async def serving() -> AsyncIterator[Lane]:
    made = Lane()
    config = uvicorn.Config(made.app, interface="asgi3", http=FastLane, log_config=None, access_log=False)
    config.load()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: made.troubles.append(context))
    app_state = {STATE: made.endpoint, PROBE: made.probe, LAG: made.lag}
    server = await loop.create_server(
        lambda: FastLane(config, made.state, app_state), "127.0.0.1", 0, start_serving=True
    )
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    for connection in list(made.state.connections):
        connection.shutdown()
    assert made.troubles == []


async def read_answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).lower()
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head, await reader.readexactly(length)


def request(
    body: bytes = b"{}", *, target: str = "/fast", method: str = "POST", version: str = "1.1", **headers: str | None
) -> bytes:
    """A plain request; a header given here replaces the plain one, None takes it out."""
    given: dict[str, str | None] = {**PLAIN, "Content-Length": str(len(body))}
    given |= {name.replace("_", "-").title(): value for name, value in headers.items()}
    lines = [f"{method} {target} HTTP/{version}", *(f"{n}: {v}" for n, v in given.items() if v is not None)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_a_plain_request_is_answered_as_elsewhere(lane: Lane) -> None:
    head, body = await lane.ask(request(b'{"a": 1}'))
    assert (body, lane.endpoint.begun) == (b"{}", [("t", b'{"a": 1}', "127.0.0.1")])
    assert head.startswith(b"http/1.1 200 ok\r\n")
    for line in (b"content-type: application/json", b"x-request-id: r-1", b"cache-control: no-store"):
        assert line + b"\r\n" in head
    assert b"connection: close" not in head
    assert lane.application == []


@pytest.mark.parametrize(
    "raw",
    [
        request(target="/fast?a=1"),
        request(target="/fast/"),
        request(target="/%66ast"),
        request(target="/other"),
        request(method="PUT"),
        request(version="1.0", connection="keep-alive"),
        request(connection="close"),
        request(authorization=None),
        request(authorization="bearer t"),
        request(content_type=None),
        request(content_type="application/json; charset=utf-8"),
        request(content_encoding="identity"),
        request(content_length=None, transfer_encoding="chunked").removesuffix(b"{}") + b"2\r\n{}\r\n0\r\n\r\n",
        request().replace(b"\r\nHost", b"\r\nAuthorization: Bearer u\r\nHost"),
        request().replace(b"\r\nHost", b"\r\nHost: y\r\nHost"),
    ],
)
async def test_what_is_odd_is_the_application_s(lane: Lane, raw: bytes) -> None:
    assert (await lane.ask(raw))[1] == b"app {}"
    assert lane.endpoint.begun == []


async def test_a_body_beyond_the_limit_is_the_application_s(lane: Lane) -> None:
    body = b"x" * (64 * 1024 + 1)
    assert (await lane.ask(request(body)))[1] == b"app " + body
    assert lane.endpoint.begun == []


async def test_continue_is_told_by_the_application(lane: Lane) -> None:
    reader, writer = await lane.connect()
    writer.write(request(expect="100-continue").removesuffix(b"{}"))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    writer.write(b"{}")
    assert (await read_answer(reader))[1] == b"app {}"
    writer.close()


async def test_what_the_endpoint_does_not_take_is_the_application_s(lane: Lane) -> None:
    assert (await lane.ask(request(b"no")))[1] == b"app no"


async def test_what_is_too_much_is_refused_as_elsewhere_and_the_connection_kept(lane: Lane) -> None:
    reader, writer = await lane.connect()
    writer.write(request(b"full") + request(b"{}"))
    head, body = await read_answer(reader)
    assert head.startswith(b"http/1.1 503 service unavailable\r\n")
    for line in (b"content-type: application/problem+json", b"retry-after: 7", b"x-request-id: r-1"):
        assert head.count(line + b"\r\n") == 1
    assert b"cache-control: no-store\r\n" in head
    assert head.count(b"content-length:") == 1
    problem = orjson.loads(body)
    assert (problem["code"], problem["request_id"]) == ("overloaded", "r-1")
    assert (await read_answer(reader))[1] == b"{}"
    writer.close()
    assert lane.application == []


@pytest.mark.parametrize(
    "end",
    [
        lambda result: result.set_result(None),
        lambda result: result.set_exception(OSError("away")),
        lambda result: result.cancel(),
    ],
    ids=["nothing", "an error", "cancelled"],
)
async def test_what_came_to_nothing_is_the_application_s(lane: Lane, end: Callable[[Any], Any]) -> None:
    lane.endpoint.at_once = end
    assert (await lane.ask(request(b"{1}")))[1] == b"app {1}"


async def test_a_connection_is_kept_and_a_body_may_come_in_pieces(lane: Lane) -> None:
    reader, writer = await lane.connect()
    for number in range(3):
        body = b'{"number": %d}' % number
        raw = request(body)
        writer.write(raw[:-5])
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(raw[-5:])
        assert (await read_answer(reader))[1] == b"{}"
        assert lane.endpoint.begun[-1][1] == body
    writer.close()
    await lane.until(lambda: not lane.state.connections)
    assert lane.application == []


async def test_pipelined_requests_are_answered_in_their_order(lane: Lane) -> None:
    lane.endpoint.at_once = None
    reader, writer = await lane.connect()
    writer.write(request(b"1") + request(b"2") + request(b"no"))
    await lane.until(lambda: lane.endpoint.results)
    lane.endpoint.results[0].set_result(b"one")
    assert [(await read_answer(reader))[1] for _ in range(3)] == [b"one", b"app 2", b"app no"]
    writer.close()


async def test_who_leaves_in_the_middle_of_a_body_is_seen_by_the_application(lane: Lane) -> None:
    _, writer = await lane.connect()
    writer.write(request(b"12345")[:-2])
    await writer.drain()
    await asyncio.sleep(0.01)
    writer.close()
    await lane.until(lambda: lane.application)
    assert (lane.application, lane.endpoint.begun) == ([None], [])
    await lane.until(lambda: not lane.state.connections)


async def test_who_leaves_before_the_answer_harms_nobody(lane: Lane) -> None:
    lane.endpoint.at_once = None
    _, writer = await lane.connect()
    writer.write(request())
    await lane.until(lambda: lane.endpoint.results)
    reset(writer)
    await lane.until(lambda: not lane.state.connections)
    lane.endpoint.results[0].set_result(b"{}")
    await asyncio.sleep(0)
    lane.endpoint.at_once = lambda result: result.set_result(b"{}")
    assert (await lane.ask(request()))[1] == b"{}"


def reset(writer: asyncio.StreamWriter) -> None:
    """Leave so that the other side learns at once that nobody reads."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


async def test_who_sends_no_more_gets_the_answer_and_the_connection_ends(lane: Lane) -> None:
    lane.endpoint.at_once = None
    reader, writer = await lane.connect()
    writer.write(request())
    writer.write_eof()
    await lane.until(lambda: lane.endpoint.results)
    connection: Any = next(iter(lane.state.connections))
    await lane.until(lambda: not connection.cycle.keep_alive)
    lane.endpoint.results[0].set_result(b"{}")
    head, body = await read_answer(reader)
    assert (body, b"connection: close\r\n" in head) == (b"{}", True)
    assert await asyncio.wait_for(reader.read(), 2) == b""
    await lane.until(lambda: not lane.state.connections)
    writer.close()
    assert lane.application == []


async def test_who_sends_no_more_and_has_left_is_noticed_when_it_is_answered(lane: Lane) -> None:
    lane.endpoint.at_once = None
    _, writer = await lane.connect()
    writer.write(request())
    await lane.until(lambda: lane.endpoint.results)
    writer.close()
    await asyncio.sleep(0.05)
    lane.endpoint.results[0].set_result(b"{}")
    await lane.until(lambda: not lane.state.connections)


async def test_who_leaves_before_the_answer_with_another_request_behind_harms_nobody(lane: Lane) -> None:
    lane.endpoint.at_once = None
    _, writer = await lane.connect()
    writer.write(request() + request())
    await lane.until(lambda: lane.endpoint.results)
    reset(writer)
    await asyncio.sleep(0.05)
    lane.endpoint.results[0].set_result(b"{}")
    await lane.until(lambda: not lane.state.connections)


async def test_half_a_request_behind_a_whole_one_is_refused_in_its_turn(lane: Lane) -> None:
    lane.endpoint.at_once = None
    reader, writer = await lane.connect()
    writer.write(request(b"1") + request(b"23").replace(b"r-1", b"r-2")[:-1])
    writer.write_eof()
    await lane.until(lambda: lane.endpoint.results)
    await asyncio.sleep(0.05)
    lane.endpoint.results[0].set_result(b"one")
    assert (await read_answer(reader))[1] == b"one"
    problem = orjson.loads((await read_answer(reader))[1])
    assert (problem["code"], problem["request_id"]) == ("malformed_request", "r-2")
    assert await asyncio.wait_for(reader.read(), 2) == b""
    await lane.until(lambda: not lane.state.connections)
    writer.close()
    assert lane.application == [None]


async def test_white_space_around_a_value_does_not_cost_the_lane(lane: Lane) -> None:
    padded = request(authorization=" Bearer t\t ", content_type="\tapplication/json ").replace(b"r-1", b"r-1\t ")
    head, body = await lane.ask(padded)
    assert (body, lane.endpoint.begun) == (b"{}", [("t", b"{}", "127.0.0.1")])
    assert b"x-request-id: r-1\r\n" in head


async def test_who_reads_nothing_is_the_application_s_which_waits(lane: Lane) -> None:
    reader, writer = await lane.connect()
    await lane.until(lambda: lane.state.connections)
    (connection,) = lane.state.connections
    connection.pause_writing()
    writer.write(request())
    await lane.until(lambda: lane.application)
    connection.resume_writing()
    assert (await read_answer(reader))[1] == b"app {}"
    writer.close()


async def test_a_server_that_ends_answers_and_closes(lane: Lane) -> None:
    lane.endpoint.at_once = None
    reader, writer = await lane.connect()
    writer.write(request())
    await lane.until(lambda: lane.endpoint.results)
    for connection in list(lane.state.connections):
        connection.shutdown()
    lane.endpoint.results[0].set_result(b"{}")
    head, body = await read_answer(reader)
    rest = await asyncio.wait_for(reader.read(), 2)  # far less than the time that an idle connection is kept
    assert (body, b"connection: close\r\n" in head, rest) == (b"{}", True, b"")
    writer.close()


async def test_without_an_endpoint_it_is_uvicorn_s_own() -> None:
    async with serving() as lane:
        lane.endpoint.path = "/none"
        assert (await lane.ask(request()))[1] == b"app {}"


PROBING = b"GET /probe HTTP/1.1\r\nHost: x\r\nX-Request-ID: r-9\r\n"


async def test_a_probe_is_answered_without_the_application(lane: Lane) -> None:
    reader, writer = await lane.connect()
    for _ in range(2):  # the connection lives on
        writer.write(PROBING + b"\r\n")
        head, body = await read_answer(reader)
        assert head.startswith(b"http/1.1 200 ok")
        assert b"x-request-id: r-9\r\n" in head
        assert b"x-content-type-options: nosniff\r\n" in head
        assert body == b'{"status":"ok"}'
    writer.close()
    assert lane.application == []


async def test_a_head_of_the_probe_is_answered_without_its_body(lane: Lane) -> None:
    reader, writer = await lane.connect()
    writer.write(PROBING.replace(b"GET", b"HEAD") + b"\r\n" + PROBING + b"\r\n")
    kept = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    head, body = await read_answer(reader)
    writer.close()
    assert kept.lower() == head, "and what follows it is the next answer"
    assert b"content-length: %d\r\n" % len(body) in head
    assert lane.application == []


async def test_a_probe_that_cannot_say_leaves_it_to_the_application(lane: Lane) -> None:
    lane.probe.said = None
    assert (await lane.ask(PROBING + b"\r\n"))[1] == b"app "


@pytest.mark.parametrize(
    "odd",
    [
        PROBING + b"Content-Length: 2\r\n\r\n{}",
        PROBING + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        PROBING + b"X-Request-ID: r-10\r\n\r\n",
        PROBING + b"Connection: close\r\n\r\n",
        PROBING.replace(b"GET", b"OPTIONS") + b"\r\n",
        PROBING.replace(b"/probe", b"/probe?x=1") + b"\r\n",
    ],
)
async def test_an_odd_probe_is_the_applications(odd: bytes, lane: Lane) -> None:
    reader, writer = await lane.connect()
    writer.write(odd)
    assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    writer.close()
    assert len(lane.application) == 1


async def test_while_it_is_behind_a_request_is_refused_unseen_and_its_connection_not_read(lane: Lane) -> None:
    reader, writer = await lane.connect()
    lane.lag.behind = True
    writer.write(request(b"{}"))
    head, body = await read_answer(reader)
    assert head.startswith(b"http/1.1 503")
    assert orjson.loads(body)["code"] == "overloaded"
    assert orjson.loads(body)["request_id"] == "r-1"
    assert b"retry-after: " in head
    assert lane.endpoint.begun == []
    assert lane.application == []
    connection: Any = next(iter(lane.state.connections))
    lane.lag.behind = False
    writer.write(request(b"{}"))
    assert connection.flow.read_paused, "what is not read costs nothing"
    assert (await read_answer(reader))[0].startswith(b"http/1.1 200"), "heard again after its Retry-After"
    writer.close()


async def test_a_connection_that_ends_unread_troubles_nobody(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nexmdm.server.fast_lane.random.uniform", lambda _low, _high: 0.1)
    reader, writer = await lane.connect()
    lane.lag.behind = True
    writer.write(request(b"{}"))
    await read_answer(reader)
    connection: Any = next(iter(lane.state.connections))
    connection.transport.abort()
    await lane.until(lambda: not lane.state.connections)
    writer.close()
    await asyncio.sleep(0.5)  # beyond the moment at which it would have been read again
