"""An upload is a figure only where its answer is the wanted one, and the whole body was sent before it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench import uploads
from bench.rig import Refused


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[str, list[int]]]:
    """A server that takes one request of a MiB and gives this answer; its URL, and how many bytes of a body came."""
    came: list[int] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            received = b""
            while len(received.partition(b"\r\n\r\n")[2]) < 2**20:
                received += connection.recv(65536)
            came.append(len(received.partition(b"\r\n\r\n")[2]))
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", came
        server.join()


def test_the_whole_body_is_sent() -> None:
    with answering(b"HTTP/1.1 204 No Content\r\n\r\n") as (url, came):
        assert uploads.sent(url, "PATCH /u", [], 1, 204) > 0
    assert came == [2**20]


@pytest.mark.parametrize("answer", [b"HTTP/1.1 503 Service Unavailable\r\n\r\n", b""])
def test_another_answer_is_no_figure(answer: bytes) -> None:
    with answering(answer) as (url, _), pytest.raises(Refused):
        uploads.sent(url, "PATCH /u", [], 1, 204)
