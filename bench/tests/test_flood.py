import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.flood import Order, Outcome, Stage, flood

YES = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
SHED = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n"
MUTE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"
Answer = Callable[[str, int], bytes]


class Server:
    """Answers each request with what `answer` says for its token and how often that one was heard; b"": hangs up."""

    def __init__(self) -> None:
        self.answer: Answer = lambda _token, _times: YES
        self.heard: Counter[str] = Counter()
        self.connections = 0
        self.stall_until = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1/heartbeat"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, contextlib.suppress(ConnectionError):
            while received := connection.recv(65536):
                threading.Event().wait(max(0.0, self.stall_until - time.monotonic()))
                token = received.partition(b"Bearer ")[2].partition(b"\r")[0].decode()
                self.heard[token] += 1
                said = self.answer(token, self.heard[token])
                connection.sendall(said[:20])  # an answer may come in pieces
                connection.sendall(said[20:])
                if not said or b"connection: close" in said:
                    return

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Callable[..., list[Outcome]]:
    tokens = tmp_path / "tokens"
    tokens.write_text("a\nb\nc")

    def _run(*stages: Stage, connections: int = 10, timeout_s: float = 5.0, patient: bool = True) -> list[Outcome]:
        return flood(Order(server.url, str(tokens), stages, connections, timeout_s, patient=patient))

    return _run


Run = Callable[..., list[Outcome]]


def test_every_beat_of_a_stage_is_sent_in_turns_of_the_devices(server: Server, run: Run) -> None:
    first, second = run(Stage(100, 0.3, "answered"), Stage(100, 0.3, "answered"))
    assert (first.answered, second.answered) == (30, 30)
    assert server.heard == {"a": 20, "b": 20, "c": 20}
    assert server.connections <= 10
    assert first.bad_until_s == 0.0


@pytest.mark.slow
def test_a_stall_shows_in_all_beats_that_it_delayed(server: Server, run: Run) -> None:
    server.stall_until = time.monotonic() + 2.0  # the process takes a moment to begin
    (outcome,) = run(Stage(50, 3.0, "answered"), connections=2)
    assert outcome.answered == 150
    assert (outcome.p99_ms or 0) > 500, "a beat that waits for a connection shows all of its wait"
    assert 0 < outcome.bad_until_s < 2.5


def test_sheds_are_counted_apart_and_one_without_retry_after_is_mute(server: Server, run: Run) -> None:
    server.answer = lambda token, _times: {"a": YES, "b": SHED, "c": MUTE}[token]
    (outcome,) = run(Stage(60, 0.5, "answered"))
    assert outcome.statuses == {"200": 10, "503": 20}
    assert (outcome.answered, outcome.shed, outcome.mute) == (10, 20, 10)
    assert outcome.bad_until_s > 0.4


def test_who_is_shed_comes_back_until_it_is_heard(server: Server, run: Run) -> None:
    server.answer = lambda _token, times: SHED if times < 3 else YES
    (outcome,) = run(Stage(30, 0.1, "heard"))
    assert (outcome.answered, outcome.shed) == (3, 6)
    assert server.heard == {"a": 3, "b": 3, "c": 3}


def test_what_is_not_answered_is_lost_and_what_is_not_sent_gave_up(server: Server, run: Run) -> None:
    server.stall_until = time.monotonic() + 60
    (outcome,) = run(Stage(20, 1.0, "answered"), connections=5, timeout_s=0.5)
    assert outcome.answered == 0
    assert outcome.lost + outcome.gave_up == 20
    assert outcome.lost >= 5
    assert outcome.p99_ms is None


@pytest.mark.parametrize("said, answered, lost", [(CLOSING, 20, 0), (b"", 0, 20)])
def test_a_connection_that_ends_is_replaced(said: bytes, answered: int, lost: int, server: Server, run: Run) -> None:
    server.answer = lambda _token, _times: said
    (outcome,) = run(Stage(20, 1.0, "answered"))
    assert (outcome.answered, outcome.lost) == (answered, lost)
    assert server.connections == 20


def test_other_answers_are_told(server: Server, run: Run) -> None:
    server.answer = lambda _token, _times: YES.replace(b"200 OK", b"500 Oh")
    (outcome,) = run(Stage(30, 0.1, "answered"))
    assert outcome.other == {"500": 3}


@pytest.mark.parametrize("patient", [True, False])
def test_who_is_patient_lets_its_connection_rest(patient: bool, server: Server, run: Run) -> None:
    server.answer = lambda _token, _times: SHED.replace(b"after: 0", b"after: 9")
    (outcome,) = run(Stage(50, 0.4, "answered"), connections=4, timeout_s=0.5, patient=patient)
    assert outcome.shed == (4 if patient else 20)
    assert outcome.gave_up == (16 if patient else 0)
