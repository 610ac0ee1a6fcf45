import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from harness.platform.stream import Message, follow, messages

Served = tuple[Callable[[bytes], str], threading.Event]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def test_messages_and_comments_are_told_apart() -> None:
    lines = [": open", "", "id: 7", "event: write", "data: {", "data: }", "", "data:x", "", "id: 8"]
    assert list(messages(lines)) == ["open", Message("7", "write", "{\n}"), Message("", "", "x")]


def test_an_unknown_field_is_told() -> None:
    with pytest.raises(ValueError, match="no field"):
        list(messages(["name: x"]))


@pytest.fixture
def served() -> Iterator[Served]:
    """served(bytes): the URL of a server that sends them, and goes on when it is told to."""
    listener = socket.create_server(("127.0.0.1", 0))
    more = threading.Event()
    told: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(HEAD + told[0])
            more.wait(10)

    thread = threading.Thread(target=serve)

    def start(sent: bytes) -> str:
        told.append(sent)
        thread.start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start, more
    more.set()
    thread.join()
    listener.close()


def test_what_has_come_is_taken_and_an_end_is_seen(served: Served) -> None:
    start, more = served
    with follow(start(b": ping\n\nid: 1\ndata: a\n\nid: 2\ndata: b\n\n"), "/", []) as stream:
        assert stream.status == 200
        assert [one.id for one in stream.take(2)] == ["1", "2"]
        assert stream.comments == ["ping"]
        with pytest.raises(AssertionError, match="goes on after"):
            stream.rest(0.05)
        more.set()
        assert stream.rest() == []


def test_a_message_that_does_not_come_is_told(served: Served) -> None:
    start, more = served
    with follow(start(b"id: 1\ndata: a\n\n"), "/", []) as stream:
        with pytest.raises(AssertionError, match=r"1 of 2 messages within 0\.05 s"):
            stream.take(2, within_s=0.05)
        more.set()
        with pytest.raises(AssertionError, match="has ended after 0 of 1"):
            stream.take(1)


def test_a_stream_can_be_left_while_it_is_silent(served: Served) -> None:
    start, _ = served
    with follow(start(b""), "/", []):
        pass
