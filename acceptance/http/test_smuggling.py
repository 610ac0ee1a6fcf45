"""Requests that a proxy and the service could read in two ways: refused whole, so that nothing hides in them.

Each carries a second request that must never run. Does not test what a clear request does.
"""

import uuid
from collections.abc import Callable

import pytest

from acceptance.suite.case import case
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.openapi import Contract
from acceptance.system.system import Enrolled, System, Unchanged, new_alias
from harness.http.raw_http import Sockets, drain, request
from harness.waiting import eventually

BEAT = b'{"status": "ok"}'
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BEAT), BEAT)
TE, CL = "Transfer-Encoding", "Content-Length"

# What stands among the headers of a request whose body is BEAT, or BEAT in one chunk.
HEADERS = {
    "length and chunks": [f"{TE}: chunked", f"{CL}: {len(CHUNKED)}"],
    "chunks and length": [f"{CL}: {len(CHUNKED)}", f"{TE}: chunked"],
    "length 0 and chunks": [f"{CL}: 0", f"{TE}: chunked"],
    "another coding": [f"{TE}: xchunked"],
    "chunked is not last": [f"{TE}: chunked, identity"],
    "chunked is not first": [f"{TE}: gzip, chunked"],
    "identity, then chunked": [f"{TE}: identity", f"{TE}: chunked"],
    "chunked twice": [f"{TE}: chunked", f"{TE}: chunked"],
    "chunked behind a vertical tab": [f"{TE}: \x0bchunked"],
    "chunked in quotes": [f'{TE}: "chunked"'],
    "chunked in a folded line": [f"{TE}:\r\n chunked"],
    "space before the colon": [f"{TE} : chunked"],
    "two equal lengths": [f"{CL}: {len(BEAT)}"] * 2,
    "two lengths": [f"{CL}: {len(BEAT)}", f"{CL}: 0"],
    "a list of lengths": [f"{CL}: {len(BEAT)}, {len(BEAT)}"],
    "a negative length": [f"{CL}: -1"],
    "a length with a sign": [f"{CL}: +{len(BEAT)}"],
    "a hexadecimal length": [f"{CL}: 0x{len(BEAT):x}"],
    "a length beyond 64 bits": [f"{CL}: {2**64 + len(BEAT)}"],
    "an empty length": [f"{CL}: "],
    "a folded header": [f"{CL}: {len(BEAT)}", "X-Note: a\r\n b"],
    "a bare line feed": [f"{CL}: {len(BEAT)}", "X-Note: a\nX-Other: b"],
    "a bare carriage return": [f"{CL}: {len(BEAT)}", "X-Note: a\rX-Other: b"],
    "NUL in a value": [f"{CL}: {len(BEAT)}", "X-Note: a\0b"],
    "NUL in a name": [f"{CL}: {len(BEAT)}", "X-No\0te: a"],
    "a second Host": [f"{CL}: {len(BEAT)}", "Host: evil.example"],
}
CHUNKS = {
    "a sign": CHUNKED.replace(b"10\r\n", b"+10\r\n", 1),
    "0x": CHUNKED.replace(b"10\r\n", b"0x10\r\n", 1),
    "a size beyond 64 bits": CHUNKED.replace(b"10\r\n", b"1" + b"0" * 16 + b"10\r\n", 1),
    "bare line feeds": CHUNKED.replace(b"\r\n", b"\n"),
    "a line feed in an extension": CHUNKED.replace(b"10\r\n", b"10;a\nb\r\n", 1),
    "more than its size": CHUNKED.replace(b"}\r\n", b"}xx", 1),
    "a length in the trailer": CHUNKED[:-2] + b"Content-Length: 5\r\n\r\n",
}
LINES = {
    "no Host": lambda sent: sent.replace(b"Host: nexmdm\r\n", b""),
    "authority as target": lambda sent: sent.replace(b"/v1/heartbeat", b"evil.example:80", 1),
    "CONNECT": lambda sent: sent.replace(b"POST /v1/heartbeat", b"CONNECT nexmdm:80", 1),
    "HTTP/2.0": lambda sent: sent.replace(b"HTTP/1.1", b"HTTP/2.0", 1),
    "HTTP/1.9": lambda sent: sent.replace(b"HTTP/1.1", b"HTTP/1.9", 1),
    "HTTP/0.9": lambda sent: sent.replace(b" HTTP/1.1", b"", 1),
    "chunks in HTTP/1.0": lambda sent: sent.replace(b"HTTP/1.1", b"HTTP/1.0", 1).replace(
        f"{CL}: {len(BEAT)}\r\n\r\n".encode() + BEAT, f"{TE}: chunked\r\n\r\n".encode() + CHUNKED
    ),
    "a space before the first header": lambda sent: sent.replace(b"Host:", b" Host:", 1),
    "a raw byte in the target": lambda sent: sent.replace(b"/v1/heartbeat", b"/v1/\xff", 1),
}


class Hidden:
    """A request that would issue a token, were it ever run."""

    def __init__(self, system: System) -> None:
        self.alias, self.request_id = new_alias(), f"hidden-{uuid.uuid4().hex}"
        credentials = [("X-Admin", system.target.admin_key), ("X-Request-ID", self.request_id)]
        body = b'{"aliases": ["%b"]}' % self.alias.encode()
        self.raw = request("POST /v1/enroll-tokens", *credentials, ("Content-Type", "application/json"), body=body)

    def never_ran(self, db: Database, logs: Logs) -> None:
        assert db.value("select count(*) from enrollment_tokens where alias = %s", self.alias) == 0
        assert self.request_id not in {line["request_id"] for line in logs.since()}


def heartbeat(device: Enrolled, headers: list[str], body: bytes, *, fast: bool) -> bytes:
    """A good heartbeat but for these headers; the slow route is that of a request with anything odd about it."""
    plain = [("Authorization", f"Bearer {device.token}"), ("Content-Type", "application/json")]
    if not fast:
        plain[1] = ("Content-Type", "application/json; charset=utf-8")
    head = request("POST /v1/heartbeat", *plain)
    return head[:-2] + "".join(f"{line}\r\n" for line in headers).encode("latin-1") + b"\r\n" + body


@pytest.fixture
def refusal(
    system: System, sockets: Sockets, db: Database, logs: Logs, unchanged: Unchanged
) -> Callable[[bytes], None]:
    """Sends bytes with a hidden request behind them: one 400, the connection closed, no row, no second request."""

    def expect(sent: bytes) -> None:
        hidden = Hidden(system)
        with unchanged():
            found = sockets.exchange(sent + hidden.raw)
        assert [answer.status for answer in found] == [400], found
        refused(found[0], 400, "malformed_request")
        Contract.load().judge_refusal("a malformed request", 400, found[0].headers, found[0].body)
        assert found[0].headers["connection"] == "close"
        about = {"request_id": found[0].request_id}
        own = eventually(lambda: [line["event"] for line in logs.since() if about.items() <= line.items()], 3.0)
        assert own in (["connection.refused"], ["http.request"]), "the refusal is one line, under its request id"
        hidden.never_ran(db, logs)

    return expect


@case("smuggling/001")
@pytest.mark.parametrize("fast", [True, False], ids=["fast lane", "slow route"])
@pytest.mark.parametrize("name", HEADERS)
def test_a_body_of_two_lengths_is_refused(
    name: str, fast: bool, somebody: Enrolled, refusal: Callable[[bytes], None]
) -> None:
    """A header by which a request's end could be misread is one 400; what is behind it never runs (security.md)."""
    headers = HEADERS[name]
    refusal(heartbeat(somebody, headers, CHUNKED if any("chunked" in line for line in headers) else BEAT, fast=fast))


@case("smuggling/002")
@pytest.mark.parametrize("name", CHUNKS)
def test_chunks_that_are_not_clear_are_refused(
    name: str, somebody: Enrolled, sockets: Sockets, system: System, db: Database, logs: Logs, unchanged: Unchanged
) -> None:
    """Chunks of a doubtful size are one 400, nothing is stored, and what is behind never runs (security.md)."""
    hidden = Hidden(system)
    with unchanged():
        found = sockets.exchange(heartbeat(somebody, [f"{TE}: chunked"], CHUNKS[name], fast=False) + hidden.raw)
    assert [answer.status for answer in found] == [400], found
    refused(found[0], 400, "malformed_request")
    hidden.never_ran(db, logs)


@case("smuggling/003")
@pytest.mark.parametrize("name", LINES)
def test_a_request_line_or_host_that_is_not_clear_is_refused(
    name: str, somebody: Enrolled, refusal: Callable[[bytes], None]
) -> None:
    """Another version, an odd target, no Host: one 400, and nothing of the request is done (RFC 9112)."""
    sent = LINES[name](heartbeat(somebody, [f"{CL}: {len(BEAT)}"], BEAT, fast=True))
    refusal(sent)


@case("smuggling/004")
@pytest.mark.parametrize("fast", [True, False], ids=["fast lane", "slow route"])
def test_nothing_runs_behind_a_request_that_closes(
    fast: bool, system: System, somebody: Enrolled, sockets: Sockets, db: Database, logs: Logs
) -> None:
    """Behind `Connection: close` there is no further request, whatever the bytes look like (RFC 9112 section 9.6)."""
    hidden = Hidden(system)
    headers = [f"{CL}: {len(BEAT)}", "Connection: close"]
    found = sockets.exchange(heartbeat(somebody, headers, BEAT, fast=fast) + hidden.raw)
    assert [answer.status for answer in found] == [200]
    hidden.never_ran(db, logs)


@case("smuggling/005")
@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
def test_another_protocol_is_not_spoken(
    upgrade: str, system: System, sockets: Sockets, db: Database, logs: Logs
) -> None:
    """A request for an upgrade is answered as HTTP/1.1 and ends the connection; what follows is not read (RFC 9110)."""
    hidden = Hidden(system)
    key = [("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="), ("Sec-WebSocket-Version", "13")]
    found = sockets.exchange(
        request("GET /healthz", ("Connection", "Upgrade"), ("Upgrade", upgrade), *key) + hidden.raw
    )
    assert [answer.status for answer in found] == [200]
    logs.wait("http.request", request_id=found[0].request_id, status=200)
    hidden.never_ran(db, logs)


@case("smuggling/006")
@pytest.mark.parametrize("fast", [True, False], ids=["fast lane", "slow route"])
def test_a_refusal_never_takes_the_place_of_an_answer(
    fast: bool, somebody: Enrolled, sockets: Sockets, logs: Logs
) -> None:
    """A good request before a malformed one gets its own answer, and the connection is closed (RFC 9112 9.3.2)."""
    garbage = b"\x00\x01 this is not HTTP\r\n\r\n"
    found = sockets.exchange(heartbeat(somebody, [f"{CL}: {len(BEAT)}"], BEAT, fast=fast) + garbage)
    assert [answer.status for answer in found] == [200], found
    assert accepted(found[0])["ok"] is True
    logs.wait("connection.refused", reason="malformed")


@case("smuggling/007")
def test_pipelined_requests_are_answered_in_their_order(somebody: Enrolled, sockets: Sockets, logs: Logs) -> None:
    """Requests sent at once are each answered, once and in order, the fast among the slow (RFC 9112 9.3.2)."""
    beat = [heartbeat(somebody, [f"{CL}: {len(BEAT)}"], BEAT, fast=fast) for fast in (True, False)]
    nothing = request("GET /nowhere")
    last = request("GET /readyz", ("Connection", "close"))
    found = sockets.exchange(beat[0] + nothing + beat[1] + beat[0] + nothing + last)
    assert [answer.status for answer in found] == [200, 404, 200, 200, 404, 200]
    logs.wait("http.request", request_id=found[-1].request_id, status=200)


@case("smuggling/008")
def test_more_pipelined_requests_than_anybody_needs_end_the_connection(
    sockets: Sockets, logs: Logs, system: System
) -> None:
    """Some thousand requests at once on one connection are not kept in memory: it is ended (security.md)."""
    counted = {'nexmdm_connections_refused_total{reason="pipeline"}': 1.0}
    with system.metrics.moves(counted), sockets.connect() as connection:
        connection.sendall(request("GET /nowhere") * 1000)
        received = drain(connection)
    assert received.count(b"HTTP/1.1 404") < 100
    logs.wait("connection.refused", reason="pipeline")
