"""Clients that cost places instead of answers: slow heads, slow bodies, slow readers, and crowds that say nothing.

Each is sent away in time, and meanwhile a real device is served. Does not measure how fast: `nox -s bench` does.
"""

import contextlib
import itertools
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from acceptance.access.requests import admin
from acceptance.fleet.apks import new_package, upload
from acceptance.suite.case import case
from acceptance.system.match import accepted, refused
from acceptance.system.openapi import Contract
from acceptance.system.system import FreshBackend, System
from harness.devices.apk import MEDIA_TYPE, apk
from harness.http.client import Answer
from harness.http.raw_http import Sockets, answers, drain, request
from harness.waiting import eventually

HEAD_S, STALL_S = 1, 2
SETTINGS = {"NEXMDM_HEAD_TIMEOUT_S": str(HEAD_S), "NEXMDM_STALL_TIMEOUT_S": str(STALL_S)}
SWEEP_S = 3.0  # the sweep comes once a second, and the machine may be busy
CROWD = 200


@contextmanager
def crowd(sockets: Sockets, count: int, sent: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many open connections, each of which has sent this much."""
    with ExitStack() as stack:
        opened = [stack.enter_context(sockets.connect()) for _ in range(count)]
        for one in opened:
            with contextlib.suppress(ConnectionError):  # already sent away
                one.sendall(sent)
        yield opened


def is_over(connection: socket.socket) -> bool:
    """Whether the service has closed it; what has come is read and thrown away."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return True


def all_over(connections: list[socket.socket]) -> bool:
    still = sum(not is_over(one) for one in connections)
    assert still == 0, f"{still} of {len(connections)} are still open"
    return True


def dripped(connection: socket.socket, sent: Iterator[bytes], within_s: float) -> list[Answer]:
    """The answers to bytes that come one by one, a tenth of a second apart, until the service has had enough."""

    def ended() -> bool:
        with contextlib.suppress(ConnectionError):
            connection.sendall(next(sent, b""))
        received.append(read(connection))
        return received[-1] is None

    received: list[bytes | None] = []
    eventually(ended, within_s)
    return answers(b"".join(piece for piece in received if piece))


def read(connection: socket.socket) -> bytes | None:
    """What comes within a tenth of a second; None: the service has closed."""
    connection.settimeout(0.1)
    try:
        return connection.recv(65536) or None
    except TimeoutError:
        return b""
    except ConnectionResetError:
        return None


def heartbeat_head(token: str, length: int) -> bytes:
    headers = [
        ("Authorization", f"Bearer {token}"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(length)),
    ]
    return request("POST /v1/heartbeat", *headers)


@case("slow/001", slow="opens a crowd of connections")
@pytest.mark.parametrize("sent", [b"", b"POST /v1/heartbeat HTTP/1.1\r\nHost: x\r\nX-A"], ids=["silent", "in its head"])
def test_slow_heads_keep_nobody_out(sent: bytes, fresh_backend: FreshBackend) -> None:
    """200 connections that never finish a head are closed in time, and a device is served meanwhile (security.md)."""
    system: System = fresh_backend(env=SETTINGS)
    device = system.device()
    with crowd(Sockets(system.target.base_url), CROWD, sent) as connections:
        accepted(device.heartbeat())
        eventually(lambda: all_over(connections), HEAD_S + SWEEP_S)
    accepted(device.heartbeat())
    ended = system.metrics.total('nexmdm_connections_refused_total{reason="slow_head"}')
    assert ended == CROWD
    assert system.logs.wait("connection.refused", reason="slow_head", level="WARNING")["connections"] >= 1


@case("slow/002", slow="waits 5 s for a stall")
@pytest.mark.parametrize("part", ["head", "body"])
def test_a_request_that_comes_in_drops_is_a_408(part: str, fresh_backend: FreshBackend) -> None:
    """A head or a body that comes in drops is a 408 in time, stores nothing, and is closed (security.md)."""
    system: System = fresh_backend(env=SETTINGS)
    device = system.device()
    whole = heartbeat_head(device.token, 60_000)
    start, drops = (whole[:20], whole[20:]) if part == "head" else (whole, b" " * 60_000)
    began = time.monotonic()
    with system.unchanged(), Sockets(system.target.base_url).connect() as connection:
        connection.sendall(start)
        pieces = (drops[at : at + 1] for at in range(len(drops)))
        [answer] = dripped(connection, pieces, (HEAD_S if part == "head" else STALL_S) + SWEEP_S)
    assert time.monotonic() - began >= HEAD_S
    refused(answer, 408, "request_timeout")
    Contract.load().judge_refusal("a slow request", 408, answer.headers, answer.body)
    line = system.logs.wait("connection.refused", request_id=answer.request_id, level="WARNING")
    assert line["reason"] == f"slow_{part}"


@case("slow/003", slow="uploads for 10 s")
def test_a_slow_upload_is_let_through(fresh_backend: FreshBackend) -> None:
    """An upload that takes longer than every limit but keeps coming is stored: progress counts (security.md)."""
    system: System = fresh_backend(env=SETTINGS)
    content, package = apk(60_000), new_package()
    path = f"POST /v1/apk/builds?package_name={package}&version_code=1&version_name=1.0.0"
    head = request(path, *admin(system)(b""), ("Content-Type", MEDIA_TYPE), ("Content-Length", str(len(content))))
    pieces = (content[at : at + 1000] for at in range(0, len(content), 1000))
    began = time.monotonic()
    with Sockets(system.target.base_url).connect() as connection:
        connection.sendall(head)
        received = b""

        def stored() -> bool:
            nonlocal received
            connection.sendall(next(pieces, b""))
            piece = read(connection)
            assert piece is not None, "closed"
            received += piece
            return b"sha256" in received

        eventually(stored, 60.0)
    assert time.monotonic() - began > 2 * STALL_S
    [answer] = answers(received)
    assert accepted(answer, 201)["size_bytes"] == len(content)


@case("slow/004", slow="waits 10 s for a stall")
def test_who_reads_nothing_is_sent_away(fresh_backend: FreshBackend) -> None:
    """Who asks for a build and reads none of it is closed in time; who reads slowly gets all of it (security.md)."""
    system: System = fresh_backend(env=SETTINGS)
    content, package = apk(8_000_000), new_package()
    accepted(upload(system.api, content, package_name=package), 201)
    get = request(f"GET /v1/apk/download-latest?package_name={package}", *admin(system)(b""), ("Connection", "close"))
    refusals = 'nexmdm_connections_refused_total{reason="slow_reader"}'
    with Sockets(system.target.base_url).connect() as connection:
        connection.sendall(get)
        eventually(lambda: system.metrics.total(refusals) == 1, STALL_S + SWEEP_S)
    system.logs.wait("connection.refused", reason="slow_reader")
    with Sockets(system.target.base_url).connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(get)
        received = bytearray()

        def whole() -> bool:
            received.extend(connection.recv(200_000))
            return len(received) > len(content)

        eventually(whole, 60.0)
        received += drain(connection)
    [answer] = answers(bytes(received))
    assert (answer.status, answer.body) == (200, content)
    assert system.metrics.total(refusals) == 1


@case("slow/005", slow="opens a crowd of connections")
def test_a_crowd_beyond_the_bound_keeps_nobody_out(fresh_backend: FreshBackend) -> None:
    """Beyond the bound new connections are closed at once; devices on open ones are served, then all (security.md)."""
    system: System = fresh_backend(env={**SETTINGS, "NEXMDM_MAX_CONNECTIONS": "100", "NEXMDM_HEAD_TIMEOUT_S": "5"})
    device = system.device()
    sockets = Sockets(system.target.base_url)
    with crowd(sockets, 300) as connections:
        eventually(lambda: sum(map(is_over, connections)) >= 200, SWEEP_S)
        for _ in range(5):
            accepted(device.heartbeat())  # on the connection that it has
        eventually(lambda: all_over(connections), 5 + SWEEP_S)
        system.api.reconnect()
        accepted(device.heartbeat())
    ended = system.metrics.total('nexmdm_connections_refused_total{reason="too_many"}')
    assert ended >= 200
    line = system.logs.wait("connection.refused", reason="too_many", level="WARNING")
    assert line["connections"] > 1, "a line a second, not a line each"


@case("slow/006", slow="waits 5 s beside a crowd")
def test_who_was_answered_makes_room_in_a_crowd(fresh_backend: FreshBackend) -> None:
    """With nine tenths of the places taken, connections that wait for nothing close after 5 s, not 75 (security.md)."""
    system: System = fresh_backend(env={**SETTINGS, "NEXMDM_MAX_CONNECTIONS": "50"})
    asked = request("GET /healthz")
    with crowd(Sockets(system.target.base_url), 48, asked) as connections:
        eventually(lambda: all_over(connections), 5 + SWEEP_S)
        system.api.reconnect()
        accepted(system.api.request("GET", "/healthz"))


@case("slow/007")
def test_an_endless_head_costs_no_memory(fresh_backend: FreshBackend) -> None:
    """A head that does not end is a 431 after 64 KiB, and the process has not grown with it (security.md)."""
    system: System = fresh_backend(env={"NEXMDM_HEAD_TIMEOUT_S": "60"})
    web = max(psutil.Process(system.running.backends[0].pid).children(), key=lambda one: one.memory_info().rss)
    before = web.memory_info().rss
    line, sent = b"X-Filler: " + b"x" * 8000 + b"\r\n", 0
    with system.unchanged(), Sockets(system.target.base_url).connect() as connection:
        connection.sendall(request("GET /healthz")[:-2])
        with contextlib.suppress(ConnectionError):
            for _ in range(5000):
                connection.sendall(line)
                sent += len(line)
        received = drain(connection)
    assert sent < 10_000_000, "it was read on and on"
    assert web.memory_info().rss - before < 20_000_000
    for answer in answers(received):
        refused(answer, 431, "head_too_large")
    system.logs.wait("connection.refused", reason="large_head")


@case("slow/008", slow="waits for a stall")
def test_a_body_that_was_refused_is_not_read_for_ever(fresh_backend: FreshBackend) -> None:
    """Who goes on sending after a refusal has the time of a stall to notice; then the connection ends (security.md)."""
    system: System = fresh_backend(env=SETTINGS)
    head = request("POST /v1/heartbeat", ("Transfer-Encoding", "chunked"))
    chunk = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"
    with system.unchanged(), Sockets(system.target.base_url).connect() as connection:
        connection.sendall(head)
        [answer] = dripped(connection, itertools.repeat(chunk), STALL_S + SWEEP_S)
    refused(answer, 401, "token_missing")
    system.logs.wait("connection.refused", reason="slow_body")
