"""The generator against a tiny server: it keeps its plan whatever the server does, and tells what became of it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest
from gevent.server import StreamServer

from harness.processes.announcing import AnnouncingChild
from harness.tests.fronts import listening, make_authority, nexmdm
from load.arrival_rate.generator import Generator, Outfit
from load.arrival_rate.http_client import Connections, NoAnswer
from load.arrival_rate.schedule import HEARTBEAT, Leg
from load.measurements.tally import Tally

ROOT = Path(__file__).parents[3]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Start = Callable[..., tuple[AnnouncingChild, str]]


@pytest.fixture
def start() -> Iterator[Start]:
    with contextlib.ExitStack() as started:

        def run(*arguments: int) -> tuple[AnnouncingChild, str]:
            server = started.enter_context(AnnouncingChild("load.tests.counting_server", "the server"))
            server.launch(*map(str, arguments))
            return server, server.wait_ready()["url"]

        yield run


def outfit(url: str, timeout_s: float = 10.0) -> Outfit:
    return Outfit(url, ["nxd_token"] * 100, 100, 1, "run", time.time(), timeout_s=timeout_s)


def fire(url: str, per_s: float, beats: int, timeout_s: float = 10.0, at_once: int = 0) -> Tally:
    generator = Generator(outfit(url, timeout_s))
    try:
        return generator.run(Leg(HEARTBEAT, generator.now() + 0.05, per_s, beats, at_once=at_once))
    finally:
        generator.stop()


def test_every_beat_of_the_plan_is_sent_and_answered(start: Start) -> None:
    tally = fire(start()[1], 400, 200)
    assert (tally.planned, tally.sent, tally.answered, tally.failed) == (200, 200, 200, 0)
    assert tally.in_time == 200
    assert tally.timings.whole(HEARTBEAT).n == tally.lag.n == 200


@pytest.mark.slow
def test_a_server_that_stalls_does_not_hide_it(start: Start) -> None:
    """2 s of 4 s without an answer: half of all beats fall into it, and all of them wait for its end."""
    server, url = start()
    rate, duration_s, stall_s = 100, 4.0, 2.0
    gevent.spawn_later(1.0, os.kill, server.pid, signal.SIGSTOP)
    gevent.spawn_later(1.0 + stall_s, os.kill, server.pid, signal.SIGCONT)
    tally = fire(url, rate, int(rate * duration_s))
    times = tally.timings.whole(HEARTBEAT)
    assert tally.answered == tally.planned
    late = 1 - times.share_within(0.1)
    assert late == pytest.approx((stall_s - 0.1) / duration_s, abs=0.1)
    assert (times.percentile_ms(0.99) or 0) > 1500
    assert (tally.lag.percentile_ms(0.99) or 0) < 500  # it was not the generator
    assert tally.busiest > rate  # it went on sending


def test_a_generator_that_is_late_neither_hides_it_nor_thins_out_the_load(start: Start) -> None:
    generator = Generator(outfit(start()[1]))
    try:
        tally = generator.run(Leg(HEARTBEAT, generator.now() - 1.0, 100, 50))
    finally:
        generator.stop()
    assert tally.answered == 50
    for late in (tally.lag, tally.timings.whole(HEARTBEAT)):
        assert (late.percentile_ms(0.01) or 0) >= 500


def test_a_server_that_dies_half_way_leaves_errors(start: Start) -> None:
    _, url = start(0, 100)
    tally = fire(url, 400, 200)
    assert tally.sent == 200
    assert 0 < tally.answered <= 100
    assert tally.failed == tally.unanswered == 200 - tally.answered
    assert tally.timings.whole(HEARTBEAT).errors == tally.failed


def test_a_refusal_is_no_answer_of_the_wanted_kind(start: Start) -> None:
    tally = fire(start(401, 0)[1], 400, 50)
    assert (tally.answered, tally.others, tally.unanswered) == (0, {"status 401": 50}, 0)


def test_what_is_never_answered_counts_as_the_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tally = fire(f"http://127.0.0.1:{silent.getsockname()[1]}", 200, 20, timeout_s=0.3)
    assert (tally.answered, tally.unanswered) == (0, 20)
    assert (tally.timings.whole(HEARTBEAT).percentile_ms(0.5) or 0) >= 300


def test_a_warm_up_waits_for_answers(start: Start) -> None:
    tally = fire(start()[1], 2000, 100, at_once=4)
    assert tally.answered == 100
    assert 1 <= tally.busiest <= 4


@pytest.fixture
def raw() -> Iterator[Callable[..., Connections]]:
    servers: list[StreamServer] = []
    clients: list[Connections] = []

    def run(*pieces: bytes) -> Connections:
        def answer(sock: socket.socket, _: object) -> None:
            with sock:
                while sock.recv(65536):
                    for piece in pieces:
                        sock.sendall(piece)
                        gevent.sleep(0.01)
                    if b"".join(pieces) != OK:
                        return

        servers.append(StreamServer(("127.0.0.1", 0), answer))
        servers[-1].start()
        clients.append(Connections(f"http://127.0.0.1:{servers[-1].server_port}"))
        return clients[-1]

    yield run
    for client in clients:
        client.close()
    for server in servers:
        server.stop()


@pytest.mark.parametrize("cut", [4, 20, len(OK) - 2, len(OK) - 1])
def test_an_answer_may_come_in_pieces(raw: Callable[..., Connections], cut: int) -> None:
    connections = raw(OK[:cut], OK[cut:])
    assert [connections.ask(b"x") for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "wrong",
    [
        OK[:-1],
        OK[:20],
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
        OK + b"and more",
        b"nonsense\r\n\r\n",
    ],
)
def test_what_is_no_whole_answer_is_none(raw: Callable[..., Connections], wrong: bytes) -> None:
    connections = raw(wrong)
    with pytest.raises(NoAnswer):
        connections.ask(b"x")


def test_https_is_trusted_by_the_file_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca_file, context = make_authority(tmp_path)
    asked = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
    with listening(nexmdm, context) as port:
        with pytest.raises(NoAnswer, match="CERTIFICATE_VERIFY_FAILED"):
            Connections(f"https://127.0.0.1:{port}").ask(asked)
        monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
        assert Connections(f"https://127.0.0.1:{port}").ask(asked) == 200
