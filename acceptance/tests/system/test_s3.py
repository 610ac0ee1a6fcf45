"""The S3 server: what goes wrong on the way to it does so, for as often as it is scripted, and nothing else does."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from acceptance.system.s3 import BUCKET, S3Server

SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, Signature=0"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server.start(tmp_path_factory.mktemp("s3") / "log") as started:
        yield started


def status(server: S3Server, method: str, key: str) -> int:
    """Of one request; 0: it is not answered."""
    try:
        content = b"x" * 100_000 if method == "PUT" else None
        url = f"{server.url}/{BUCKET}/{key}"
        return httpx.request(method, url, content=content, headers=SIGNED, trust_env=False).status_code
    except httpx.TransportError:
        return 0


@pytest.mark.parametrize(
    "fault, answered, stored",
    [
        ({"drop": True}, 0, False),
        ({"drop": True, "effect": True}, 0, True),
        ({"status": 500}, 500, False),
        ({"status": 500, "effect": True}, 500, True),
    ],
)
def test_a_fault_happens_once(fault: dict[str, Any], answered: int, stored: bool, server: S3Server) -> None:
    key = f"{answered}-{stored}"
    server.control.script("PUT", fault)
    assert status(server, "PUT", key) == answered
    assert server.keys(key) == [key] * stored
    assert status(server, "PUT", key) == 200
    assert server.keys(key) == [key]


def test_an_answer_is_cut(server: S3Server) -> None:
    assert status(server, "PUT", "cut") == 200
    server.control.script("GET", {"cut": True})
    assert [status(server, "GET", "cut") for _ in range(2)] == [0, 200]


def test_a_script_goes_on_until_the_next(server: S3Server) -> None:
    server.control.script("PUT", {"status": 503, "times": 0})
    assert [status(server, "PUT", "later") for _ in range(3)] == [503] * 3
    server.control.script("PUT")
    assert status(server, "PUT", "later") == 200
