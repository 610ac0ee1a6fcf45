"""Assertions on answers as they came over the wire. It sends nothing."""

from __future__ import annotations

from contracts.wire import RawAnswer


def expect_problem(answer: RawAnswer, status: int, code: str) -> None:
    """The answer is this refusal, whole: status, media type, code, type, and the request id in header and body."""
    assert answer.status == status, f"expected {status} {code}, got {answer.status}: {answer.body[:300]!r}"
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
    assert media_type == "application/problem+json", f"{status} came as {media_type or 'no media type'}"
    problem = answer.json()
    assert problem["code"] == code, f"expected {code}, got {problem['code']}"
    assert problem["type"] == f"/problems/{code}", f"type is {problem['type']}"
    assert problem["status"] == status, f"the body says {problem['status']}"
    request_id = answer.headers.get("x-request-id")
    assert request_id, "X-Request-ID is missing"
    assert problem["request_id"] == request_id, f"request_id is {problem['request_id']}, the header says {request_id}"
    if status == 401:
        assert answer.headers.get("www-authenticate", "").startswith("Bearer"), "401 without WWW-Authenticate: Bearer"
    if status in (429, 503):
        assert answer.headers.get("retry-after", "").isdecimal(), f"{status} without Retry-After"
    if status == 422:
        assert problem["errors"], "422 without errors"


def expect_success(answer: RawAnswer, status: int = 200) -> None:
    assert answer.status == status, f"expected {status}, got {answer.status}: {answer.body[:300]!r}"
    assert answer.headers.get("x-request-id"), "X-Request-ID is missing"


def expect_no_echo(answer: RawAnswer, sent: bytes) -> None:
    """Nothing that was sent comes back in a refusal."""
    assert sent not in answer.body, f"the answer echoes {sent!r}"
