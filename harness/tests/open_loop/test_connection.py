"""A response is taken when it is whole, and as nothing when it is none."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from harness.open_loop.connection import length_of, status_of
from harness.open_loop.exchange import Exchange
from harness.open_loop.loop import OpenLoop
from harness.tests.fronts import listening, make_authority, nexmdm
from harness.tests.open_loop.conftest import ASKED, OK, Heard, Run, Server, plan


@pytest.mark.parametrize("cut", [4, 20, len(OK) - 2, len(OK) - 1])
def test_a_response_may_come_in_pieces(run: Run, cut: int) -> None:
    assert run(Server(OK[:cut], OK[cut:]), 4, 20)[0].statuses == {200: 4}


def test_a_large_request_and_a_large_response_go_through_whole(run: Run) -> None:
    body = bytes(range(256)) * 8192
    received = bytearray()

    class Echo(Server):
        def __call__(self, sock: socket.socket) -> None:
            while not received.endswith(b"end"):
                received.extend(sock.recv(65536))
            sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
            sock.sendall(body)

    heard, _ = run(Echo(), requests=iter([Exchange(0.0, ASKED + body + b"end")]))
    assert bytes(received) == ASKED + body + b"end"
    assert (heard.ended_[0].status, heard.ended_[0].body) == (200, body)


@pytest.mark.parametrize(
    "wrong,trouble",
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "without Content-Length"),
        (b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n", "no final response"),
        (b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n", "no final response"),
        (OK + b"and more", "more came"),
        (OK.replace(b": 2", b": 2\r\nContent-Length: 2"), "unclear Content-Length"),
        (OK.replace(b": 2", b": +2"), "unclear Content-Length"),
        (OK.replace(b": 2", b": 2\r\nTransfer-Encoding: chunked"), "without Content-Length"),
        (b"nonsense\r\n\r\n", "no final response"),
    ],
)
def test_what_is_no_response_is_told_at_once(run: Run, wrong: bytes, trouble: str) -> None:
    heard, _ = run(Server(wrong), 1)
    assert heard.statuses == {0: 1}
    assert trouble in heard.ended_[0].trouble


@pytest.mark.parametrize("part", [OK[:-1], OK[:20], b""])
def test_a_connection_that_ends_within_a_response_is_lost(run: Run, part: bytes) -> None:
    heard, _ = run(Server(part, then_hang_up=True), 1)
    assert heard.statuses == {0: 1}
    assert "closed before the end" in heard.ended_[0].trouble


def test_a_status_without_a_body_needs_no_length() -> None:
    assert length_of(b"http/1.1 204 no content") == 0
    assert status_of(b"http/1.0 304 not modified") == 304


def test_https_is_trusted_by_the_file_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca_file, context = make_authority(tmp_path)
    asked = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"

    def one(port: int) -> Exchange:
        heard, loop = Heard(), OpenLoop(f"https://127.0.0.1:{port}")
        loop.run(plan(1, 1, asked), heard)
        loop.close()
        return heard.ended_[0]

    with listening(nexmdm, context) as port:
        assert "CERTIFICATE_VERIFY_FAILED" in one(port).trouble
        monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
        assert one(port).status == 200
