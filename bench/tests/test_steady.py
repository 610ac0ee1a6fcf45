import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bench import steady


class Server(ThreadingHTTPServer):
    daemon_threads = True
    stall_until = 0.0
    seen: list[str]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(self.headers["Authorization"])
        threading.Event().wait(max(0.0, self.server.stall_until - time.time()))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.seen = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/"


def test_every_beat_is_sent_and_those_of_the_warm_up_are_left_out(server: Server) -> None:
    beats = steady.send(url(server), ["a", "b", "c"], rate=50, duration_s=0.4, warm_s=0.2)
    assert len(beats) == pytest.approx(20, abs=1)
    assert server.seen[:4] == ["Bearer a", "Bearer b", "Bearer c", "Bearer a"]
    assert len(server.seen) == 30
    assert {beat.status for beat in beats} == {200}


def test_a_stall_shows_in_all_beats_that_it_delayed_and_stops_none(server: Server) -> None:
    server.stall_until = time.time() + 0.5
    beats = sorted(steady.send(url(server), ["a"], rate=50, duration_s=0.8, warm_s=0.0), key=lambda b: b.intended)
    assert len(beats) == 40
    assert sum(beat.latency_ms > 100 for beat in beats) >= 10, "a closed loop would have one"


def test_a_beat_without_an_answer_took_as_long_as_our_patience() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    beats = steady.send(f"http://127.0.0.1:{port}/", ["a"], rate=50, duration_s=0.2, warm_s=0.0)
    assert [beat.status for beat in beats] == [0] * 10
    assert min(steady.latencies_ms(beats)) == 10_000
    assert "10 of 10" in steady.trouble(beats)
