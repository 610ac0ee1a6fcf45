"""A closed loop has so many requests at once, each with the next number, and counts what became of them."""

from __future__ import annotations

from bench.rush import Rush
from bench.tests.test_flood import CLOSING, YES, Server
from bench.writes import _outcome
from harness.open_loop.exchange import Exchange


def test_answers_are_counted_by_outcome_and_numbers_go_on_over_rounds(server: Server) -> None:
    server.answer = lambda token, _: CLOSING if token.endswith("7") else YES

    def request(number: int) -> bytes:
        return f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {number}\r\n\r\n".encode()

    rush = Rush(server.url.removesuffix("/v1/heartbeat"), request, lambda one: str(one.status), "200")
    per_s = rush.round(0.2)
    first = rush.answers.total()
    assert per_s > 0
    assert set(rush.answers) == {"200"}
    rush.round(0.1)
    rush.close()
    assert sorted(map(int, server.heard)) == list(range(first + rush.answers.total())), "each number once"


def test_an_error_of_rpc_is_no_write() -> None:
    exchange = Exchange(0.0, b"")
    exchange.status, exchange.body = 200, b'{"jsonrpc":"2.0","id":1,"result":{"bytes_written":1024}}'
    assert _outcome(exchange) == "written"
    exchange.body = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32010}}'
    assert "-32010" in _outcome(exchange)
