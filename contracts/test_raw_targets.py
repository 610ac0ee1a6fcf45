"""Request targets and headers as raw bytes: queries, paths, methods, request ids. It sends no bodies."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.expected import expect_problem, expect_success
from contracts.spec import Document
from contracts.wire import RawAnswer, RawRequest, Wire
from harness.settings import Target


class Admin:
    """Sends bodiless requests as an admin."""

    def __init__(self, target: Target, wire: Wire) -> None:
        self._key = target.admin_key
        self._wire = wire

    def __call__(self, path: str, *headers: tuple[str, str], method: str = "GET") -> RawAnswer:
        return self._wire.send(RawRequest(method, path, (("X-Admin", self._key), *headers)))


@pytest.fixture(scope="session")
def get(target: Target, wire: Wire) -> Admin:
    return Admin(target, wire)


LISTS = ["/v1/devices", "/v1/enroll-tokens", "/admin/dispatches", "/v1/apk/builds"]
TIME = Document.read().content["components"]["schemas"]["ClientTime"]["pattern"]
fuzzed = settings(max_examples=100, deadline=None, derandomize=True)  # in a few seconds, the same in each run


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "query,pointer",
    [
        ("limit=1&limit=2", "/query/limit"),
        ("limit=1&limit=1", "/query/limit"),
        ("limit=", "/query/limit"),
        ("limit=0", "/query/limit"),
        ("limit=201", "/query/limit"),
        ("limit=1e1", "/query/limit"),
        ("limit=%20", "/query/limit"),
        ("limit=" + "9" * 5000, "/query/limit"),
        ("limit=%D9%A1", "/query/limit"),
        ("cursor=", "/query/cursor"),
        ("cursor=not-a-cursor", "/query/cursor"),
        ("cursor=" + "A" * 201, "/query/cursor"),
        ("cursor=%00", "/query/cursor"),
        ("cursor=%ff%fe", "/query/cursor"),
        ("cursor=AAAA&cursor=AAAA", "/query/cursor"),
    ],
    ids=lambda value: value[:24],
)
def test_bad_query(get: Admin, path: str, query: str, pointer: str) -> None:
    """raw/020: a query parameter that is out of bounds, given twice or undecodable is 422 and named."""
    answer = get(f"{path}?{query}")
    expect_problem(answer, 422, "validation_error")
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    "path", ["/v1/devices", "/v1/enroll-tokens", "/v1/scripts/enroll.sh", "/v1/scripts/enroll.cmd"]
)
@pytest.mark.parametrize(
    "alias", ["%00", "a%00b", "%ff", "%ED%A0%80", "a%0Ab", "", "%2e", "a" * 65, "a%0A", "a%20b", "..%2f"]
)
def test_bad_alias(get: Admin, path: str, alias: str) -> None:
    """raw/021: an alias of another shape is 422, also where it only filters, also for a newline at its end."""
    expect_problem(get(f"{path}?alias={alias}"), 422, "validation_error")


@pytest.mark.parametrize(
    "device_id",
    [
        "0199C0DE-0000-7000-8000-0000000000D1",
        "0199c0de000070008000000000000001",
        "%7B0199c0de-0000-7000-8000-0000000000d1%7D",
        "0199c0de-0000-7000-8000-0000000000d1%0A",
        "%00",
        "%ff",
        "1",
        "x" * 4000,
    ],
    ids=lambda value: value[:20],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_bad_device_id(get: Admin, method: str, device_id: str) -> None:
    """raw/022: only the canonical lower-case form of a UUID names a device; all else is 422 at /path/device_id."""
    answer = get(f"/v1/devices/{device_id}", method=method)
    expect_problem(answer, 422, "validation_error")
    assert answer.json()["errors"][0]["pointer"] == "/path/device_id"


@pytest.mark.parametrize(
    "method,path,allow",
    [
        ("PUT", "/v1/enroll-tokens", {"GET", "HEAD", "POST"}),
        ("GET", "/v1/register", {"POST"}),
        ("DELETE", "/admin/command", {"POST"}),
        ("PATCH", "/v1/devices/0199c0de-0000-7000-8000-0000000000d1", {"GET", "HEAD", "DELETE"}),
        ("DELETE", "/v1/apk/builds", {"GET", "HEAD", "POST"}),
        ("POST", "/v1/apk/download-latest", {"GET", "HEAD"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("TRACE", "/metrics", {"GET", "HEAD"}),
    ],
)
def test_method_not_allowed(get: Admin, method: str, path: str, allow: set[str]) -> None:
    """raw/023: another method is 405, and Allow lists every method of the path, HEAD wherever GET is."""
    answer = get(path, method=method)
    expect_problem(answer, 405, "method_not_allowed")
    assert {name.strip() for name in answer.headers["allow"].split(",")} == allow


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/devices/", "/healthz/", "/V1/devices", "/v1//devices", "/admin", "/docs/x", "/%00", "/%ff"],
)
def test_unknown_route(get: Admin, path: str) -> None:
    """raw/024: an unknown path is 404 not_found; a trailing slash makes one, and nothing redirects."""
    expect_problem(get(path), 404, "not_found")


@pytest.mark.parametrize("given", ["abc", "A.b_c-9", "x" * 64])
def test_request_id_is_kept(get: Admin, given: str) -> None:
    """raw/025: a request id of the right shape is echoed, on success and on refusal."""
    for path in ("/healthz", "/nowhere"):
        assert get(path, ("X-Request-ID", given)).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", " ", "a%20b", "x" * 65, "a\tb", "\xe9", "<script>", "a,b"])
def test_request_id_is_replaced(get: Admin, given: str) -> None:
    """raw/026: a request id of another shape is replaced, not refused and not echoed."""
    answer = get("/healthz", ("X-Request-ID", given))
    expect_success(answer)
    assert len(answer.headers["x-request-id"]) == 36


def test_two_request_ids(get: Admin) -> None:
    """raw/027: of two request ids none is trusted to be the one, and the answer carries one of the right shape."""
    answer = get("/healthz", ("X-Request-ID", "first"), ("X-Request-ID", "second"))
    expect_success(answer)
    assert "," not in answer.headers["x-request-id"]


@fuzzed
@given(text=st.from_regex(TIME, fullmatch=True) | st.text(max_size=40))
def test_any_time_is_taken_or_refused(get: Admin, text: str) -> None:
    """raw/028: whatever stands for a time is 200 or 422, by the contract's pattern and the calendar; never a 500."""
    answer = get(f"/v1/devices?limit=1&stale_since={quote(text, safe='')}")
    if answer.status == 200:
        assert re.fullmatch(TIME, text)
        return
    expect_problem(answer, 422, "validation_error")
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/query/stale_since"]
    refused = re.fullmatch(TIME, text)
    assert refused is None or refused[4] == "60" or refused[2] in ("29", "30", "31"), "no time that there is"


@pytest.mark.parametrize("path", LISTS)
@fuzzed
@given(
    moment=st.from_regex(TIME, fullmatch=True) | st.text(max_size=30) | st.datetimes().map(datetime.isoformat),
    key=st.text(max_size=40) | st.integers().map(str) | st.uuids().map(str) | st.none() | st.floats(),
    named=st.booleans(),
)
def test_any_cursor_is_taken_or_refused(get: Admin, path: str, moment: str, key: object, named: bool) -> None:
    """raw/029: a cursor that somebody made up is 422 or gives a page, whatever its time and key are; never a 500."""
    members = [*([path] if named else []), moment, key]
    cursor = base64.urlsafe_b64encode(json.dumps(members).encode()).decode().rstrip("=")[:200]
    answer = get(f"{path}?limit=1&cursor={cursor}")
    if answer.status != 200 or not named:  # a cursor that does not name its list is of none
        expect_problem(answer, 422, "validation_error")
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/query/cursor"]
