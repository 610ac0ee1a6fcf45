"""The curated cases turn red on a service that checks nothing, and what they are made of does what it says."""

import base64
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from contracts.expected import expect_no_echo, expect_problem, expect_success
from contracts.fuzz.redact import scrub
from contracts.spec import ROOT
from contracts.steps import CURATED
from contracts.tests.stub import running
from contracts.wire import NoAnswer, RawAnswer, RawRequest, send
from harness.settings import Secrets

PROBLEM = {
    "content-type": "application/problem+json",
    "x-request-id": "r-1",
    "www-authenticate": "Bearer",
    "retry-after": "1",
}
BODY = (
    b'{"type": "/problems/token_invalid", "title": "t", "status": 401, "detail": "d", "code": "token_invalid", '
    b'"request_id": "r-1"}'
)


def outcome(paths: Sequence[str], tmp_path: Path, *, echoes_request_ids: bool = False) -> dict[str, set[str]]:
    """Names of the cases that passed and that failed, against a service that answers everybody with success."""
    report = tmp_path / "junit.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *paths]
    with running(echoes_request_ids=echoes_request_ids) as target:
        env = {**os.environ, **target.as_env()}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stdout[-2000:]
    cases: dict[str, set[str]] = {}
    for case in ET.parse(report).iter("testcase"):
        result = "failed" if case.find("failure") is not None else "passed"
        cases.setdefault(case.attrib["name"].partition("[")[0], set()).add(result)
    return cases


def test_signature_cases_find_a_service_that_does_not_compare(tmp_path: Path) -> None:
    cases = outcome(CURATED["signature"], tmp_path)
    # To accept good signatures is all that such a service does right.
    green = {name for name, results in cases.items() if results == {"passed"}}
    assert green == {"test_signed_command_is_accepted", "test_window"}


def test_raw_cases_find_a_service_that_reads_nothing(tmp_path: Path) -> None:
    cases = outcome(CURATED["raw"], tmp_path)
    # It gives every answer the same request id of its own.
    green = {name for name, results in cases.items() if results == {"passed"}}
    assert green == {"test_request_id_is_replaced", "test_two_request_ids"}


def test_raw_cases_find_a_service_that_echoes_any_request_id(tmp_path: Path) -> None:
    cases = outcome([*CURATED["raw"], "-k", "request_id"], tmp_path, echoes_request_ids=True)
    assert "failed" in cases["test_request_id_is_replaced"]
    assert "failed" in cases["test_two_request_ids"]


def test_whole_problem() -> None:
    expect_problem(RawAnswer(401, PROBLEM, BODY), 401, "token_invalid")


@pytest.mark.parametrize(
    "status,headers,body",
    [
        (200, PROBLEM, BODY),
        (403, PROBLEM, BODY),
        (401, {**PROBLEM, "content-type": "application/json"}, BODY),
        (401, {**PROBLEM, "x-request-id": "r-2"}, BODY),
        (401, {k: v for k, v in PROBLEM.items() if k != "x-request-id"}, BODY),
        (401, {k: v for k, v in PROBLEM.items() if k != "www-authenticate"}, BODY),
        (401, PROBLEM, BODY.replace(b'"code": "token_invalid"', b'"code": "token_missing"')),
        (401, PROBLEM, BODY.replace(b"/problems/token_invalid", b"about:blank")),
        (401, PROBLEM, BODY.replace(b'"status": 401', b'"status": 400')),
    ],
    ids=["success", "status", "media type", "other id", "no id", "no scheme", "code", "type", "status in body"],
)
def test_problem_that_is_not_whole(status: int, headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(AssertionError):
        expect_problem(RawAnswer(status, headers, body), 401, "token_invalid")


def test_limits_need_retry_after_and_validation_needs_errors() -> None:
    for status, code in ((429, "rate_limited"), (422, "validation_error")):
        body = BODY.replace(b"401", str(status).encode()).replace(b"token_invalid", code.encode())
        headers = {name: value for name, value in PROBLEM.items() if name != "retry-after"}
        with pytest.raises((AssertionError, KeyError)):
            expect_problem(RawAnswer(status, headers, body), status, code)


def test_success_and_echo() -> None:
    with pytest.raises(AssertionError):
        expect_success(RawAnswer(404, PROBLEM, BODY))
    with pytest.raises(AssertionError):
        expect_success(RawAnswer(200, {}, b""))
    with pytest.raises(AssertionError):
        expect_no_echo(RawAnswer(400, PROBLEM, b"you sent canary"), b"canary")


def test_wire_says_exactly_what_it_is_told() -> None:
    headers = (("X-A", "1"), ("X-A", "2"))
    assert RawRequest("POST", "/x?y=%ff", headers, b"abc").encode("h:1") == (
        b"POST /x?y=%ff HTTP/1.1\r\nHost: h:1\r\nConnection: close\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 3\r\n\r\nabc"
    )
    chunked = RawRequest("POST", "/", (), b"abcde", chunks=2).encode("h")
    assert chunked.endswith(b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert b"Content-Length: 9\r\n" in RawRequest("POST", "/", (), b"a", content_length=9).encode("h")


def _hang_up(server: socket.socket) -> None:
    server.accept()[0].close()


def test_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_hang_up, args=[server])
        thread.start()
        with pytest.raises(NoAnswer):
            send(f"http://127.0.0.1:{server.getsockname()[1]}", RawRequest("GET", "/"), timeout_s=5)
        thread.join()


def test_scrub_finds_secrets_in_the_clear_and_in_base64(tmp_path: Path) -> None:
    secrets = Secrets(["hunter2-hunter2"])
    token = "nxd_" + "0" * 32 + "_" + "A" * 54
    inner = base64.b64encode(f'{{"device_token": "{token}", "key": "hunter2-hunter2"}}'.encode()).decode()
    clean = base64.b64encode(b"nothing to hide").decode()
    report = tmp_path / "events.ndjson"
    report.write_text(f'{{"a": "{token}", "b": {{"$base64":"{inner}"}}, "c": {{"$base64": "{clean}"}}}}\n')
    scrub(report, secrets)
    text = report.read_text()
    bodies = [base64.b64decode(part.partition('"')[0]) for part in text.replace('": "', '":"').split('"$base64":"')[1:]]
    assert token not in text
    assert bodies[0] == b'{"device_token": "***", "key": "***"}'
    assert bodies[1] == b"nothing to hide"
