"""The loop keeps its plan whatever the server does, and every request ends exactly once."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import Counter

import pytest

from harness.open_loop.exchange import Exchange
from harness.open_loop.loop import OpenLoop
from harness.tests.fronts import listening
from harness.tests.open_loop.conftest import ASKED, OK, Heard, Run, Server, plan


def test_every_request_is_sent_when_it_is_due_and_ends_once(run: Run) -> None:
    server = Server(OK)
    heard, loop = run(server, 40)
    assert [exchange.subject for exchange in heard.released_] == list(range(40))
    assert sorted(exchange.subject for exchange in heard.ended_) == list(range(40))
    for one in heard.ended_:
        assert one.due <= one.released <= one.sent < one.ended
        assert (one.status, one.kind, one.body, one.trouble) == (200, "read", b"{}", "")
    assert server.connections <= loop.busiest + 1


def test_a_stall_shows_in_all_that_was_due_and_stops_none(run: Run) -> None:
    heard, loop = run(Server(OK, stall_s=0.5), 20, 100)
    assert heard.statuses == {200: 20}
    assert min(one.ended - one.due for one in heard.ended_) >= 0.5
    assert max(one.released - one.due for one in heard.ended_) < 0.2
    assert loop.busiest == 20


def test_what_finds_no_free_connection_waits_for_one_and_its_wait_counts(run: Run) -> None:
    server = Server(OK, stall_s=0.1)
    heard, loop = run(server, 10, 1000, connections=2)
    assert heard.statuses == {200: 10}
    assert (server.connections, loop.busiest) == (2, 2)
    assert max(one.ended - one.due for one in heard.ended_) >= 0.4
    assert max(one.sent - one.released for one in heard.ended_) >= 0.3


def test_a_window_holds_requests_back(run: Run) -> None:
    heard, loop = run(Server(OK, stall_s=0.02), 30, 10_000, window=3)
    assert heard.statuses == {200: 30}
    assert loop.busiest <= 3
    assert max(one.released - one.due for one in heard.ended_) > 0.1


def test_what_is_never_answered_ends_at_the_time_out_with_or_without_a_connection(run: Run) -> None:
    heard, _ = run(Server(stall_s=2.0), 6, 100, timeout_s=0.3, connections=4)
    assert heard.statuses == {0: 6}
    assert {one.trouble for one in heard.ended_} == {"no response within 0.3 s"}
    assert all(0.3 <= one.ended - one.released < 0.5 for one in heard.ended_)


def test_a_connection_that_ends_is_replaced(run: Run) -> None:
    hangs_up, says_so = Server(then_hang_up=True), Server(OK.replace(b"\r\nC", b"\r\nConnection: close\r\nC", 1))
    assert run(hangs_up, 5)[0].statuses == {0: 5}
    assert run(says_so, 5, 1000, connections=1)[0].statuses == {200: 5}
    assert (hangs_up.connections, says_so.connections) == (5, 5)


def test_nobody_there_is_trouble_of_every_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    heard, loop = Heard(), OpenLoop(f"http://127.0.0.1:{port}", connections=1)
    loop.run(plan(5, 1000), heard)
    loop.close()
    assert heard.statuses == {0: 5}
    assert all("ConnectionRefused" in one.trouble for one in heard.ended_)


def test_a_connection_that_rests_is_used_by_nobody(run: Run) -> None:
    server = Server(OK)
    heard, _ = run(server, 4, 100, rest_s=0.3, connections=1)
    assert heard.statuses == {200: 4}
    ends = sorted(one.ended for one in heard.ended_)
    assert all(later - earlier >= 0.3 for earlier, later in itertools.pairwise(ends))


def test_a_listener_may_send_again() -> None:
    class Again(Heard):
        def ended(self, exchange: Exchange) -> float:
            super().ended(exchange)
            if exchange.kind == "read":
                loop.later(Exchange(exchange.ended + 0.1, ASKED, "again"))
            return 0.0

    heard = Again()
    with listening(Server(OK)) as port:
        loop = OpenLoop(f"http://127.0.0.1:{port}")
        loop.run(plan(3, 100), heard)
        loop.close()
    assert Counter(one.kind for one in heard.ended_) == {"read": 3, "again": 3}


def test_a_run_until_a_time_ends_then_and_counts_who_found_no_connection() -> None:
    heard, second = Heard(), Heard()
    with listening(Server(OK, stall_s=0.6)) as port:
        loop = OpenLoop(f"http://127.0.0.1:{port}", connections=2)
        began = time.monotonic()
        dropped = loop.run(plan(5, 100), heard, until=began + 0.3)
        assert time.monotonic() - began == pytest.approx(0.3, abs=0.1)
        loop.run((), second)  # what is still on its way ends here
        loop.close()
    assert (dropped, len(heard.ended_), second.statuses) == (3, 0, {200: 2})


def test_stop_ends_a_run() -> None:
    heard = Heard()
    with listening(Server(OK)) as port:
        loop = OpenLoop(f"http://127.0.0.1:{port}")
        threading.Timer(0.2, loop.stop).start()
        loop.run(plan(1000, 100), heard)
        loop.close()
    assert 5 < len(heard.ended_) < 100
