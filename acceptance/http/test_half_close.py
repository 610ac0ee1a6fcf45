"""Clients that say "no more will come" behind their request (RFC 9293: FIN), and still want the answer.

Does not test who leaves altogether: nobody can tell the two apart before the answer is written.
"""

import socket

import pytest

from acceptance.access.requests import admin
from acceptance.fleet.apks import new_package, upload
from acceptance.http.test_slow_clients import CROWD, SETTINGS, STALL_S, SWEEP_S, all_over, crowd
from acceptance.suite.case import case
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.openapi import Contract
from acceptance.system.system import Enrolled, FreshBackend, NewDevice, System, Unchanged
from harness.devices.apk import apk
from harness.http.raw_http import Sockets, answers, drain, request
from harness.waiting import eventually

BEAT = b'{"status": "ok"}'


def heartbeat(device: Enrolled, *, fast: bool, body: bytes = BEAT) -> bytes:
    media_type = "application/json" if fast else "application/json; charset=utf-8"
    return request(
        "POST /v1/heartbeat", ("Authorization", f"Bearer {device.token}"), ("Content-Type", media_type), body=body
    )


@case("half-close/001")
@pytest.mark.parametrize("fast", [True, False], ids=["fast lane", "slow route"])
def test_a_half_closed_client_gets_its_answer(
    fast: bool, device: NewDevice, sockets: Sockets, db: Database, logs: Logs
) -> None:
    """A heartbeat with FIN right behind it is stored and answered, and the connection is closed (issue 11)."""
    one = device()
    [answer] = sockets.exchange(heartbeat(one, fast=fast), half_close=True)
    assert accepted(answer)["deduplicated"] is False
    assert db.value("select count(*) from device_heartbeats where device_id = %s", one.device_id) == 1
    logs.wait("http.request", request_id=answer.request_id, status=200)


@case("half-close/002")
def test_every_kind_of_answer_reaches_a_half_closed_client(system: System, sockets: Sockets, logs: Logs) -> None:
    """Answers at once, from the database, refusals and a build of megabytes come whole behind a FIN (issue 11)."""
    content, package = apk(3_000_000), new_package()
    accepted(upload(system.api, content, package_name=package), 201)
    download = f"GET /v1/apk/download-latest?package_name={package}"
    for line, status in (
        ("GET /healthz", 200),
        ("GET /metrics", 200),
        ("GET /v1/devices", 200),
        ("GET /nowhere", 404),
        (download, 200),
    ):
        [answer] = sockets.exchange(request(line, *admin(system)(b"")), half_close=True)
        assert answer.status == status, line
        assert line is not download or answer.body == content
        logs.wait("http.request", request_id=answer.request_id, status=status)


@case("half-close/003")
def test_pipelined_requests_of_a_half_closed_client_are_all_answered(
    system: System, somebody: Enrolled, sockets: Sockets, logs: Logs
) -> None:
    """Requests sent at once with FIN behind the last are each answered, in order, then it closes (RFC 9112 9.3.2)."""
    beats = [heartbeat(somebody, fast=fast) for fast in (True, False)]
    sent = beats[0] + request("GET /v1/devices", *admin(system)(b"")) + beats[1] + beats[0] + request("GET /nowhere")
    found = sockets.exchange(sent, half_close=True)
    assert [answer.status for answer in found] == [200, 200, 200, 200, 404]
    logs.wait("http.request", request_id=found[-1].request_id, status=404)


PARTS = {
    "its request line": b"POST /v1/hea",
    "its head": b"POST /v1/heartbeat HTTP/1.1\r\nHost: x\r\nAuth",
    "its body": b"POST /v1/heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\n{",
    "a chunk": b"POST /v1/heartbeat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{",
}


@case("half-close/004")
@pytest.mark.parametrize("fast", [True, False], ids=["fast lane", "slow route"])
@pytest.mark.parametrize("part", PARTS)
def test_a_request_that_ends_in_its_middle_is_over_at_once(
    part: str, fast: bool, somebody: Enrolled, sockets: Sockets, system: System, logs: Logs, unchanged: Unchanged
) -> None:
    """A FIN in the middle of a request is a 400 at once, counted, and changes nothing (RFC 9112 section 8)."""
    sent = PARTS[part]
    if part == "its body":
        sent = heartbeat(somebody, fast=fast)[:-3]
    elif part == "a chunk":  # with credentials: who has none is refused before the body is waited for
        more = f"Content-Type: application/json\r\nAuthorization: Bearer {somebody.token}"
        sent = sent.replace(b"\r\n\r\n", f"\r\n{more}\r\n\r\n".encode(), 1)
    counted = {'nexmdm_connections_refused_total{reason="incomplete"}': 1.0}
    with unchanged(), system.metrics.moves(counted):
        found = sockets.exchange(sent, half_close=True)
    [answer] = found
    refused(answer, 400, "malformed_request")
    Contract.load().judge_refusal("half a request", 400, answer.headers, answer.body)
    assert logs.wait("connection.refused", reason="incomplete", level="WARNING")["request_id"] == answer.request_id


@case("half-close/005")
@pytest.mark.parametrize("part", PARTS)
def test_half_a_request_takes_nothing_from_those_before_it(
    part: str, system: System, somebody: Enrolled, sockets: Sockets, logs: Logs
) -> None:
    """Whole requests before one that ends in its middle are answered; then the connection is closed (RFC 9112)."""
    whole = [heartbeat(somebody, fast=True), request("GET /v1/devices", *admin(system)(b"")), request("GET /nowhere")]
    found = sockets.exchange(b"".join(whole) + PARTS[part], half_close=True)
    assert [answer.status for answer in found[:3]] == [200, 200, 404]
    rest = [answer.status for answer in found[3:]]
    assert rest in ([], [400], [401])
    if rest != [401]:  # without credentials its head is refused, maybe before the end is seen
        logs.wait("connection.refused", reason="incomplete")


@case("half-close/006", slow="opens a crowd of connections")
def test_half_closed_connections_do_not_stay(fresh_backend: FreshBackend) -> None:
    """400 clients that want nothing more, or never asked, are gone at once and count as no refusal (issue 11)."""
    system: System = fresh_backend()
    sockets = Sockets(system.target.base_url)
    with crowd(sockets, CROWD, request("GET /healthz")) as asked, crowd(sockets, CROWD) as silent:
        for one in [*asked, *silent]:
            one.shutdown(socket.SHUT_WR)
        eventually(lambda: all_over([*asked, *silent]), SWEEP_S)
    eventually(lambda: system.metrics.total("nexmdm_connections_open") < 5, SWEEP_S)
    assert system.metrics.total("nexmdm_connections_refused_total") == 0


@case("half-close/007", slow="waits 5 s for a stall")
def test_who_half_closes_and_reads_nothing_is_sent_away(fresh_backend: FreshBackend) -> None:
    """A half-closed client that reads none of its answer has the time of a stall like any other (security.md)."""
    system: System = fresh_backend(env=SETTINGS)
    content, package = apk(8_000_000), new_package()
    accepted(upload(system.api, content, package_name=package), 201)
    refusals = 'nexmdm_connections_refused_total{reason="slow_reader"}'
    with Sockets(system.target.base_url).connect() as connection:
        connection.sendall(request(f"GET /v1/apk/download-latest?package_name={package}", *admin(system)(b"")))
        connection.shutdown(socket.SHUT_WR)
        eventually(lambda: system.metrics.total(refusals) == 1, STALL_S + SWEEP_S)
        with pytest.raises(ValueError, match="cut short"):
            answers(drain(connection))
    system.logs.wait("connection.refused", reason="slow_reader")
