"""HEAD, which every GET implies (RFC 9110, 9.3.2): the same answer without its body.

Does not judge what a GET answers: each noun's own file does.
"""

import pytest

from acceptance.access.matrix import Scene
from acceptance.access.requests import (
    CALLS,
    OF_A_BRICK,
    OF_A_CONFLICT,
    OF_A_TASK,
    OF_AN_AGENT,
    Headers,
    is_let_in,
    nobody,
    own,
)
from acceptance.suite.case import case
from acceptance.suite.environments import Stacks
from acceptance.system.api import Api
from acceptance.system.logs import Logs
from acceptance.system.match import accepted
from acceptance.system.metrics import Metrics
from acceptance.system.openapi import Contract
from acceptance.system.system import System, Unchanged
from harness.http.client import Answer
from harness.http.raw_http import Sockets, answers, drain, request

# A stream has no end to wait for: stream/007 asks for its head.
GETS = [name for name, one in CALLS.items() if one.method == "GET" and name != "streamEvents"]
NOT_THERE = OF_AN_AGENT | OF_A_TASK | OF_A_BRICK | OF_A_CONFLICT
GROWING = {"getMetrics", "getSchedulerMetrics"}  # between two looks, as waits do
ITS_OWN = {"date", "connection", "x-request-id", "x-ratelimit-remaining"}  # of one answer alone


@pytest.fixture(scope="module")
def scene(stacks: Stacks) -> Scene:
    """Something real for each operation to answer about."""
    return Scene.of(stacks.shared())


def asked(sockets: Sockets, api: Api, path: str, credentials: Headers) -> tuple[list[Answer], Answer]:
    """On one connection: HEAD twice, the second time with what the fast lane leaves to the application; then GET."""
    sent = request(f"HEAD {path}", *credentials)
    sent += request(f"HEAD {path}", *credentials, ("Content-Length", "0"))
    sent += request(f"GET {path}", *credentials, ("Connection", "close"))
    with sockets.connect() as connection:
        connection.sendall(sent)
        received = answers(drain(connection), heads=2)
    assert len(received) == 3
    *heads, get = received
    for head in heads:
        api.take("HEAD", path, head)
    return heads, api.take("GET", path, get)


def headers(answer: Answer, but: set[str]) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in but}


@case("head/001")
@pytest.mark.parametrize("operation", GETS)
def test_each_get_is_answered_to_head_too(
    operation: str, system: System, sockets: Sockets, scene: Scene, metrics: Metrics
) -> None:
    """HEAD has the status and the headers of GET and no body, let in or refused, and is counted as HEAD (api.md)."""
    contract = Contract.load()
    path, _, _ = CALLS[operation].filled(scene.about)
    accepted(scene.device.heartbeat())  # for a moment the fast lane knows that the database is there
    but = ITS_OWN | ({"content-length"} if operation in GROWING else set())
    for proof in (own(system, operation, enrolment=scene.token, keys=scene.keys), nobody):
        counted = f'nexmdm_http_requests_total{{route="{contract.route(path)}",method="HEAD"}}'
        with metrics.moves({counted: 2}):
            heads, get = asked(sockets, system.api, path, proof(b""))
        assert is_let_in(operation, get) == (CALLS[operation].caller == "open" or proof is not nobody)
        for head in heads:
            assert (head.status, headers(head, but)) == (get.status, headers(get, but))
            assert int(head.headers["content-length"]) > 0


@case("head/002")
def test_head_does_nothing(system: System, scene: Scene, logs: Logs, metrics: Metrics, unchanged: Unchanged) -> None:
    """HEAD of each GET changes no row, hands out no bytes of a build and is no download (RFC 9110, 9.2.1)."""
    with unchanged(), metrics.moves({"nexmdm_apk_downloads_total": 0, "nexmdm_enroll_tokens_issued_total": 0}):
        for operation in GETS:
            path, _, _ = CALLS[operation].filled(scene.about)
            proof = own(system, operation, enrolment=scene.token, keys=scene.keys)
            answer = system.api.request("HEAD", path, headers=proof(b""))
            assert (answer.status, answer.body) == (404 if operation in NOT_THERE else 200, b""), operation
            assert not logs.of(answer, "apk.download")


@case("head/003")
def test_what_is_nowhere_or_takes_no_get_is_refused_to_head(api: Api, sockets: Sockets, unchanged: Unchanged) -> None:
    """HEAD of an unknown path is a 404, of one without GET a 405, as GET is, and has no body (api.md)."""
    with unchanged():
        for path, status, allow in (
            ("/nowhere", 404, None),
            ("/healthz/", 404, None),
            ("/v1/register", 405, "POST"),
            ("/admin/command", 405, "POST"),
        ):
            heads, get = asked(sockets, api, path, [])
            for head in heads:
                assert (head.status, headers(head, ITS_OWN)) == (get.status, headers(get, ITS_OWN))
                assert (head.status, head.headers.get("allow")) == (status, allow)
