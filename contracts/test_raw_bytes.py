"""Bodies, headers and targets that no HTTP client sends and no fuzzer makes, each with its one right answer.

Every JSON operation gets every JSON case, with good credentials, so that the body is what is judged. It deliberately
does not test what a valid body does.
"""

from __future__ import annotations

import time
from typing import Final

import pytest

from contracts.expected import expect_no_echo, expect_problem, expect_success
from contracts.fuzz.world import Enrolled, World
from contracts.raw_cases import CANARY, JSON_LIMIT_BYTES, NOT_JSON, NOT_VALID, OPERATIONS, TOO_LARGE
from contracts.test_signature import signature
from contracts.wire import RawAnswer, RawRequest, Wire
from harness.settings import Target


class Sender:
    """Sends a body to an operation with the credentials that it wants."""

    def __init__(self, target: Target, wire: Wire, world: World, device: Enrolled) -> None:
        self._target = target
        self._wire = wire
        self._bearer = {
            "registerDevice": world.enrol_token(uses=1000)["token"],
            "recordHeartbeat": device.token,
            "completeAction": device.token,
        }

    def credentials(self, name: str, body: bytes) -> list[tuple[str, str]]:
        if name in self._bearer:
            return [("Authorization", f"Bearer {self._bearer[name]}")]
        headers = [("X-Admin", self._target.admin_key)]
        if name == "sendCommand":
            timestamp = str(int(time.time()))
            sign = signature(self._target.hmac_secret, timestamp, body)
            headers += [("X-Timestamp", timestamp), ("X-Signature", sign)]
        return headers

    def __call__(
        self,
        name: str,
        body: bytes,
        *extra: tuple[str, str],
        media_type: str | None = "application/json",
        chunks: int = 0,
        content_length: int | None = None,
    ) -> RawAnswer:
        headers = [*self.credentials(name, body), *extra]
        if media_type is not None:
            headers.append(("Content-Type", media_type))
        request = RawRequest("POST", OPERATIONS[name].path, tuple(headers), body, chunks, content_length)
        return self._wire.send(request)


@pytest.fixture(scope="session")
def post(target: Target, wire: Wire, world: World, device: Enrolled) -> Sender:
    return Sender(target, wire, world, device)


def expect_accepted(name: str, answer: RawAnswer) -> None:
    """The body was read and understood: what it names need not exist."""
    if name in ("completeAction", "sendCommand"):
        expect_problem(answer, 404, "dispatch_not_found" if name == "completeAction" else "device_not_found")
    else:
        expect_success(answer)


every_operation = pytest.mark.parametrize("name", OPERATIONS)


@every_operation
def test_valid_body(post: Sender, name: str) -> None:
    """raw/001: the body that all other cases spoil is a good one."""
    expect_accepted(name, post(name, OPERATIONS[name].body))


@every_operation
@pytest.mark.parametrize("case", NOT_JSON)
def test_not_json(post: Sender, name: str, case: str) -> None:
    """raw/002: what is no JSON text in UTF-8 that the service can read is 400 malformed_json, and is not echoed."""
    answer = post(name, NOT_JSON[case](OPERATIONS[name]))
    expect_problem(answer, 400, "malformed_json")
    expect_no_echo(answer, CANARY)


@every_operation
@pytest.mark.parametrize("case", NOT_VALID)
def test_not_valid(post: Sender, name: str, case: str) -> None:
    """raw/003: JSON that the schema does not allow is 422 validation_error, and is not echoed."""
    answer = post(name, NOT_VALID[case](OPERATIONS[name]))
    expect_problem(answer, 422, "validation_error")
    expect_no_echo(answer, CANARY)


@every_operation
@pytest.mark.parametrize("case", TOO_LARGE)
@pytest.mark.parametrize("chunks", [0, 7], ids=["length", "chunked"])
def test_too_large(post: Sender, name: str, case: str, chunks: int) -> None:
    """raw/004: a JSON body over 64 KiB is 413, with a Content-Length or chunked, whatever it holds."""
    expect_problem(post(name, TOO_LARGE[case](OPERATIONS[name]), chunks=chunks), 413, "payload_too_large")


@every_operation
def test_announced_too_large(post: Sender, name: str) -> None:
    """raw/005: a body that is announced as too large is refused without waiting for it."""
    answer = post(name, OPERATIONS[name].body, content_length=10**9)
    expect_problem(answer, 413, "payload_too_large")


@every_operation
@pytest.mark.parametrize("size", [JSON_LIMIT_BYTES, JSON_LIMIT_BYTES - 1])
def test_largest_body(post: Sender, name: str, size: int) -> None:
    """raw/006: 64 KiB are allowed."""
    expect_accepted(name, post(name, OPERATIONS[name].body.ljust(size)))


@every_operation
@pytest.mark.parametrize("chunks", [1, 5])
def test_chunked(post: Sender, name: str, chunks: int) -> None:
    """raw/007: a chunked body is a body."""
    expect_accepted(name, post(name, OPERATIONS[name].body, chunks=chunks))


@every_operation
@pytest.mark.parametrize(
    "media_type",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/jsonx",
        "application/problem+json",
        "application/x-www-form-urlencoded",
        "json",
        "application/json, text/plain",
        "application/json; charset=utf-16",
        "application/vnd.android.package-archive",
    ],
)
def test_other_media_type(post: Sender, name: str, media_type: str | None) -> None:
    """raw/008: a body that is not declared as application/json in UTF-8 is 415."""
    answer = post(name, OPERATIONS[name].body, media_type=media_type)
    expect_problem(answer, 415, "unsupported_media_type")


@every_operation
@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "Application/JSON", 'application/json;charset="UTF-8"']
)
def test_same_media_type(post: Sender, name: str, media_type: str) -> None:
    """raw/009: application/json in another spelling is application/json (RFC 9110 section 8.3.1)."""
    expect_accepted(name, post(name, OPERATIONS[name].body, media_type=media_type))


@every_operation
@pytest.mark.parametrize("encoding", ["gzip", "identity", "br, gzip", "x"])
def test_content_encoding(post: Sender, name: str, encoding: str) -> None:
    """raw/010: any Content-Encoding is 415."""
    answer = post(name, OPERATIONS[name].body, ("Content-Encoding", encoding))
    expect_problem(answer, 415, "unsupported_media_type")


BEARER_OPERATIONS: Final = ("registerDevice", "recordHeartbeat", "completeAction")


@pytest.mark.parametrize("name", BEARER_OPERATIONS)
@pytest.mark.parametrize("other", ["Bearer wrong", "same", "Basic dTpw", ""])
def test_two_authorization_headers(post: Sender, name: str, other: str) -> None:
    """raw/011: more than one Authorization header is refused, in either order, even if one or both are good."""
    body = OPERATIONS[name].body
    good = post.credentials(name, body)[0][1]
    second = good if other == "same" else other
    expect_problem(post(name, body, ("Authorization", second)), 401, "token_invalid")


@pytest.mark.parametrize("name", BEARER_OPERATIONS)
@pytest.mark.parametrize(
    "value",
    ["Bearer", "Bearer ", "Bearer a b", "Basic dTpw", "Token x", "Bearer nxd_", "Bearer \xe9", "Bearer " + "x" * 8000],
    ids=lambda value: value[:12],
)
def test_other_authorization(wire: Wire, name: str, value: str) -> None:
    """raw/012: what is no bearer token of the right kind is 401 token_invalid, never a 500."""
    operation = OPERATIONS[name]
    headers = (("Authorization", value), ("Content-Type", "application/json"))
    answer = wire.send(RawRequest("POST", operation.path, headers, operation.body))
    expect_problem(answer, 401, "token_invalid")


@pytest.mark.parametrize("name", ["createEnrollTokens", "sendCommand"])
def test_two_admin_keys(post: Sender, target: Target, name: str) -> None:
    """raw/013: X-Admin twice is refused, even if both are good."""
    answer = post(name, OPERATIONS[name].body, ("X-Admin", target.admin_key))
    expect_problem(answer, 403, "admin_required")


@every_operation
def test_credentials_before_body(wire: Wire, name: str) -> None:
    """raw/014: credentials are judged before the body: a hopeless body without any is 401 or 403."""
    request = RawRequest("POST", OPERATIONS[name].path, (("Content-Type", "text/plain"),), b"\xff" * 100_000)
    status, code = (401, "token_missing") if name in BEARER_OPERATIONS else (403, "admin_required")
    expect_problem(wire.send(request), status, code)


@every_operation
@pytest.mark.parametrize("pad", ["{} ", "{}\t", " \t{}\t "], ids=["space", "tab", "both"])
def test_white_space_around_every_value(post: Sender, wire: Wire, name: str, pad: str) -> None:
    """raw/015: space and tab around a header's value are no part of it (RFC 9110 section 5.5)."""
    operation = OPERATIONS[name]
    headers = [
        *post.credentials(name, operation.body),
        ("Content-Type", "application/json"),
        ("X-Request-ID", "raw-15"),
    ]
    padded = tuple((header, pad.format(value)) for header, value in headers)
    answer = wire.send(RawRequest("POST", operation.path, padded, operation.body))
    expect_accepted(name, answer)
    assert answer.headers["x-request-id"] == "raw-15"
