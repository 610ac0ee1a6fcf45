"""The balancer: connections go to the replicas in turn, a dead one is passed over, and one that dies cuts its own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from harness.stack.tcp_balancer import Balancer, BalancerError
from harness.waiting import eventually


class Replica:
    """Answers each line with its name and the line; a line `bye` ends the connection."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rwb", buffering=0) as file:
            while (line := file.readline()) and line != b"bye\n":
                file.write(f"{self.name} {line.decode()}".encode())

    def die(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def replicas() -> Iterator[list[Replica]]:
    made = [Replica("a"), Replica("b")]
    yield made
    for one in made:
        with contextlib.suppress(OSError):
            one.die()


@pytest.fixture
def balancer(replicas: list[Replica]) -> Iterator[Balancer]:
    with Balancer.start([one.url for one in replicas]) as started:
        yield started


class Caller:
    """A client's connection through the balancer."""

    def __init__(self, balancer: Balancer) -> None:
        host, port = balancer.url.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=5.0)

    def ask(self, line: str) -> str:
        """The answer; empty when the connection has ended."""
        with contextlib.suppress(OSError):
            self._socket.sendall(f"{line}\n".encode())
            return self._socket.recv(100).decode()
        return ""

    def close(self) -> None:
        self._socket.close()


def answered(balancer: Balancer, line: str = "hi") -> str:
    caller = Caller(balancer)
    try:
        return caller.ask(line)
    finally:
        caller.close()


def test_connections_go_in_turn_and_stay(balancer: Balancer) -> None:
    first, second = Caller(balancer), Caller(balancer)
    assert [first.ask("1"), second.ask("1"), first.ask("2"), second.ask("2")] == ["a 1\n", "b 1\n", "a 2\n", "b 2\n"]
    first.close()
    second.close()


def test_a_dead_replica_is_passed_over(balancer: Balancer, replicas: list[Replica]) -> None:
    replicas[0].die()
    assert {answered(balancer) for _ in range(4)} == {"b hi\n"}


def test_a_replica_that_dies_ends_its_connections_and_no_others(balancer: Balancer, replicas: list[Replica]) -> None:
    first, second = Caller(balancer), Caller(balancer)
    assert first.ask("1") == "a 1\n"
    replicas[0].die()
    assert not first.ask("2")
    assert second.ask("1") == "b 1\n"
    first.close()
    second.close()


def test_with_none_left_the_connection_ends(balancer: Balancer, replicas: list[Replica]) -> None:
    for one in replicas:
        one.die()
    assert not answered(balancer)


def test_the_end_of_a_replica_s_answer_is_passed_on(balancer: Balancer) -> None:
    assert not answered(balancer, "bye")


def test_stopped_it_refuses(balancer: Balancer) -> None:
    balancer.stop()

    def refused() -> bool:
        with pytest.raises(OSError):  # noqa: PT011 - whichever way the system says so
            Caller(balancer)
        return True

    eventually(refused, 2.0)
    with pytest.raises(BalancerError, match="does not run"):
        _ = balancer.pid


def test_a_replica_without_a_port_is_an_error_with_its_words() -> None:
    with pytest.raises(BalancerError, match="is not HOST:PORT"):
        Balancer.start(["http://nowhere"])
