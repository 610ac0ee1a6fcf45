"""The generator against a tiny server: it keeps its plan whatever the server does, and tells what became of it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from harness.open_loop.exchange import Exchange
from harness.processes.announcing import AnnouncingChild
from load.arrival_rate.generator import Generator
from load.arrival_rate.heartbeats import HEARTBEAT, HEARTBEATS
from load.arrival_rate.schedule import MEASURED, Leg
from load.arrival_rate.workload import WorkerConfig
from load.measurements.tally import Tally
from load.workloads.heartbeat_rows import HeartbeatRows

Start = Callable[..., tuple[AnnouncingChild, str]]


@pytest.fixture
def start() -> Iterator[Start]:
    with contextlib.ExitStack() as started:

        def run(*arguments: int) -> tuple[AnnouncingChild, str]:
            server = started.enter_context(AnnouncingChild("load.tests.counting_server", "the server"))
            server.launch(*map(str, arguments))
            return server, server.wait_ready()["url"]

        yield run


def config(url: str, timeout_s: float = 10.0) -> WorkerConfig:
    ahead_s = time.time() - time.monotonic()
    return WorkerConfig(
        base_url=url,
        tokens=["nxd_token"] * 100,
        devices=100,
        seed=1,
        run="run",
        origin=time.time(),
        workload="heartbeats",
        ahead_s=ahead_s,
        timeout_s=timeout_s,
    )


def fire(
    url: str, per_s: float, beats: int, timeout_s: float = 10.0, at_once: int = 0, start_in_s: float = 0.05
) -> Tally:
    given = config(url, timeout_s)
    generator = Generator(given, HEARTBEATS.requests(given), HEARTBEATS.ledger)
    try:
        return generator.run(Leg(MEASURED, time.time() + start_in_s, per_s, beats, at_once=at_once))
    finally:
        generator.close()


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
    threading.Timer(1.0, os.kill, (server.pid, signal.SIGSTOP)).start()
    threading.Timer(1.0 + stall_s, os.kill, (server.pid, signal.SIGCONT)).start()
    tally = fire(url, rate, int(rate * duration_s))
    times = tally.timings.whole(HEARTBEAT)
    assert tally.answered == tally.planned
    late = 1 - times.share_within(0.1)
    assert late == pytest.approx((stall_s - 0.1) / duration_s, abs=0.1)
    assert (times.percentile_ms(0.99) or 0) > 1500
    assert (tally.lag.percentile_ms(0.99) or 0) < 500  # it was not the generator
    assert tally.busiest > rate  # it went on sending


def test_a_generator_that_is_late_neither_hides_it_nor_thins_out_the_load(start: Start) -> None:
    tally = fire(start()[1], 100, 50, start_in_s=-1.0)
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


class Mixed:
    """Another workload: two kinds of requests, of which one is answered with what was not wanted."""

    def of(self, leg: Leg) -> Iterator[Exchange]:
        due = time.monotonic()
        for number in range(leg.requests):
            kind, line = (("read", b"GET /metrics"), ("write", b"POST /x"))[number % 2]
            yield Exchange(due + number / leg.per_s, line + b" HTTP/1.1\r\nContent-Length: 0\r\n\r\n", kind, number)

    def accept(self, exchange: Exchange, ledger: HeartbeatRows) -> bool:
        ledger.record(exchange.subject, 1, 1, exchange.status)
        return b"ingested" in exchange.body


def test_any_workload_is_sent_and_judges_its_answers_by_their_bodies(start: Start) -> None:
    generator = Generator(config(start()[1]), Mixed(), HeartbeatRows)
    try:
        tally = generator.run(Leg(MEASURED, time.time(), 200, 40))
    finally:
        generator.close()
    assert {kind: (h.n, h.errors) for kind in ("read", "write") for h in (tally.timings.whole(kind),)} == {
        "read": (20, 0),
        "write": (20, 20),
    }
    assert tally.others == {"status 200": 20}
    assert isinstance(tally.ledger, HeartbeatRows)
    assert len(tally.ledger.sure) == 40


def test_what_a_leg_costs_is_counted(start: Start) -> None:
    tally = fire(start()[1], 400, 200)
    assert 0 < tally.cpu < 1
    assert tally.cpu_us is not None
    assert 1 < tally.cpu_us < 10_000
    assert tally.cpu_s == pytest.approx(tally.cpu_us * 200 / 1e6)


def test_a_leg_that_is_ended_early_has_what_was_counted(start: Start) -> None:
    given = config(start()[1])
    generator = Generator(given, HEARTBEATS.requests(given), HEARTBEATS.ledger)
    threading.Timer(0.5, generator.stop).start()
    began = time.monotonic()
    tally = generator.run(Leg(MEASURED, time.time(), 100, 1000))
    generator.close()
    assert time.monotonic() - began < 2
    assert 10 < tally.answered <= tally.sent < 1000
