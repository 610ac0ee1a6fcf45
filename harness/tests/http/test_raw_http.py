"""Requests are the bytes that they are told to be; a body after HEAD and an answer that is cut short are seen."""

import socket
import threading

import pytest

from harness.http.raw_http import Sockets, answers, request

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


def test_an_answer_to_head_has_a_length_and_no_body() -> None:
    found = answers(HEAD + HEAD + HEAD + b"{}", heads=2)
    assert [(answer.status, answer.body) for answer in found] == [(200, b""), (200, b""), (200, b"{}")]


@pytest.mark.parametrize("received", [HEAD + b"{}", HEAD + b"{}" + HEAD + b"{}"])
def test_a_body_after_head_fails(received: bytes) -> None:
    with pytest.raises(AssertionError, match="a body after HEAD"):
        answers(received, heads=1)


def test_an_answer_that_is_cut_short_is_none() -> None:
    with pytest.raises(ValueError, match="cut short"):
        answers(HEAD + b"{")


def test_a_request_is_exactly_what_it_is_told_to_be() -> None:
    assert request("POST /x?y=%ff", ("X-A", "1"), ("X-A", "2"), body=b"abc") == (
        b"POST /x?y=%ff HTTP/1.1\r\nHost: nexmdm\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 3\r\n\r\nabc"
    )
    chunked = request("POST /", body=b"abcde", chunks=2)
    assert chunked.endswith(b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert b"Content-Length: 9\r\n" in request("POST /", body=b"a", length=9)
    assert b"Content-Length" not in request("POST /", body=b"a", length=False)


def test_what_comes_before_an_early_end_is_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            with server.accept()[0] as connection:
                connection.recv(10)
                connection.sendall(HEAD + b"{}")
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 20):
                    pass

        thread = threading.Thread(target=refuse)
        thread.start()
        sockets = Sockets(f"http://127.0.0.1:{server.getsockname()[1]}")
        [answer] = sockets.exchange(request("POST /", body=b"x" * 1000, length=2000), half_close=True)
        thread.join()
    assert (answer.status, answer.body) == (200, b"{}")


@pytest.mark.parametrize("parts", [[HEAD + b"{}" + HEAD], [HEAD[:20], HEAD[20:] + b"{", b"}"]], ids=["more", "parts"])
def test_the_first_answer_of_a_kept_connection_is_enough(parts: list[bytes]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as connection:
                for part in parts:
                    connection.sendall(part)
                while connection.recv(100):
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        found = Sockets(f"http://127.0.0.1:{server.getsockname()[1]}").ask(request("GET /"))
        thread.join()
    assert (found.status, found.body) == (200, b"{}")


def test_a_connection_that_says_nothing_has_no_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            for _ in range(2):
                server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        sockets = Sockets(f"http://127.0.0.1:{server.getsockname()[1]}")
        assert sockets.exchange(request("GET /")) == []
        with pytest.raises(ValueError, match="cut short"):
            sockets.ask(request("GET /"))
        thread.join()
