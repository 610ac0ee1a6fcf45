"""Bodies as bytes, with good credentials, to every operation that takes JSON; and how credentials can be spelt.

Does not test what a valid body does: each noun's own file does.
"""

from collections.abc import Iterator

import pytest

from acceptance.access.requests import CALLS
from acceptance.http.raw.conftest import Sender
from acceptance.http.raw.payloads import CANARY, JSON, JSON_LIMIT_BYTES, NOT_JSON, NOT_VALID, OPERATIONS, TOO_LARGE
from acceptance.suite.case import case
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.raw import Raw
from acceptance.system.system import System, Unchanged
from harness.http.client import Answer

BEARERS = [name for name in OPERATIONS if CALLS[name].caller in ("device", "enrolment")]
ADMINS = [name for name in OPERATIONS if name not in BEARERS]
# What the valid bodies name need not exist: a body that was read and understood is told so.
UNKNOWN = {"completeAction": "dispatch_not_found", "sendCommand": "device_not_found"}


def taken(name: str, answer: Answer, logs: Logs) -> None:
    """The body was read and understood."""
    if name in UNKNOWN:
        refused(answer, 404, UNKNOWN[name])
    else:
        accepted(answer)
    logs.expect(answer, "http.request", status=answer.status)


def all_refused(answers: list[Answer], status: int, code: str, logs: Logs) -> None:
    """Each body was refused so, and none of it comes back."""
    for answer in answers:
        refused(answer, status, code)
        assert CANARY not in answer.body
        logs.expect(answer, "http.request", status=status)


@case("raw/001")
def test_the_bodies_that_the_others_spoil_are_good(post: Sender, logs: Logs) -> None:
    """The body that every other case here spoils is read by its operation (api.md)."""
    for name, operation in OPERATIONS.items():
        taken(name, post(name, operation.body), logs)


@case("errors/003", "* 400")
@pytest.mark.parametrize("name", NOT_JSON)
def test_a_body_that_is_not_json_is_refused(name: str, post: Sender, logs: Logs, unchanged: Unchanged) -> None:
    """What is not JSON in UTF-8, NaN, Infinity and lone surrogates included, is a 400 malformed_json (api.md)."""
    with unchanged():
        answers = [post(operation, NOT_JSON[name](body)) for operation, body in OPERATIONS.items()]
    all_refused(answers, 400, "malformed_json", logs)


@case("raw/003", "* 422")
@pytest.mark.parametrize("name", NOT_VALID)
def test_json_that_is_not_valid_is_refused(name: str, post: Sender, logs: Logs, unchanged: Unchanged) -> None:
    """JSON that the schema does not allow is a 422 validation_error that repeats nothing of it (api.md)."""
    with unchanged():
        answers = [post(operation, NOT_VALID[name](body)) for operation, body in OPERATIONS.items()]
    all_refused(answers, 422, "validation_error", logs)


@case("errors/006", "* 413")
@pytest.mark.parametrize("chunks", [0, 7], ids=["with a length", "in chunks"])
def test_a_body_above_64_kib_is_refused(chunks: int, post: Sender, logs: Logs, unchanged: Unchanged) -> None:
    """A JSON body of 64 KiB is read, one byte more is a 413, however it is sent (api.md)."""
    with unchanged():
        answers = [
            post(operation, too_large(body), chunks=chunks)
            for too_large in TOO_LARGE.values()
            for operation, body in OPERATIONS.items()
        ]
    all_refused(answers, 413, "payload_too_large", logs)
    for name, operation in OPERATIONS.items():
        # Both ways to a heartbeat: what declares its charset is not plain enough for the fast one.
        for media_type in (JSON, f"{JSON}; charset=utf-8"):
            taken(name, post(name, operation.body.ljust(JSON_LIMIT_BYTES), media_type=media_type, chunks=chunks), logs)


@case("raw/005", "* 413")
def test_a_body_that_is_announced_as_too_large_is_not_waited_for(
    post: Sender, logs: Logs, unchanged: Unchanged
) -> None:
    """A Content-Length beyond 64 KiB is refused at once, whatever comes behind it (api.md: 413)."""
    with unchanged():
        answers = [post(name, operation.body, length=10**9) for name, operation in OPERATIONS.items()]
    all_refused(answers, 413, "payload_too_large", logs)


@case("raw/007")
@pytest.mark.parametrize("chunks", [1, 5])
def test_a_body_in_chunks_is_a_body(chunks: int, post: Sender, logs: Logs) -> None:
    """A chunked body is read like one with a Content-Length (RFC 9112 section 7.1)."""
    for name, operation in OPERATIONS.items():
        taken(name, post(name, operation.body, chunks=chunks), logs)


MEDIA_TYPES = [
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
]


@case("errors/005", "* 415")
@pytest.mark.parametrize(
    "media_type,encoding",
    [*((one, None) for one in MEDIA_TYPES), *((JSON, one) for one in ("gzip", "identity", "br, gzip", "x"))],
)
def test_another_media_type_is_refused(
    media_type: str | None, encoding: str | None, post: Sender, logs: Logs, unchanged: Unchanged
) -> None:
    """A JSON operation takes application/json in UTF-8, not encoded, and says 415 to everything else (api.md)."""
    extra = [("Content-Encoding", encoding)] if encoding else []
    with unchanged():
        answers = [post(name, one.body, *extra, media_type=media_type) for name, one in OPERATIONS.items()]
    all_refused(answers, 415, "unsupported_media_type", logs)


@case("raw/009")
@pytest.mark.parametrize("media_type", [f"{JSON}; charset=utf-8", "Application/JSON", f'{JSON};charset="UTF-8"'])
def test_json_has_many_spellings(media_type: str, post: Sender, logs: Logs) -> None:
    """application/json in another spelling is application/json (RFC 9110 section 8.3.1)."""
    for name, operation in OPERATIONS.items():
        taken(name, post(name, operation.body, media_type=media_type), logs)


@case("raw/011", "registerDevice 401", "recordHeartbeat 401", "completeAction 401")
@pytest.mark.parametrize("second", ["Bearer wrong", "the same", "Basic dTpw", ""])
def test_two_authorization_headers_are_refused(
    second: str, post: Sender, raw: Raw, logs: Logs, unchanged: Unchanged
) -> None:
    """More than one Authorization header is a 401, in either order, even if one or both are good (api.md)."""

    def both_orders(name: str) -> Iterator[Answer]:
        body = OPERATIONS[name].body
        [good] = post.credentials(name, body)
        other = good if second == "the same" else ("Authorization", second)
        for two in ((good, other), (other, good)):
            yield raw(f"POST {CALLS[name].path}", *two, ("Content-Type", JSON), body=body)

    with unchanged():
        answers = [answer for name in BEARERS for answer in both_orders(name)]
    for answer in answers:
        refused(answer, 401, "token_invalid")
        logs.expect(answer, "sec.auth.fail", code="token_invalid")


@case("raw/012", "registerDevice 401", "recordHeartbeat 401", "completeAction 401")
@pytest.mark.parametrize(
    "value",
    ["Bearer", "Bearer ", "Bearer a b", "Basic dTpw", "Token x", "Bearer nxd_", "Bearer \xe9", "Bearer " + "x" * 8000],
    ids=lambda value: repr(value[:12]),
)
def test_what_is_no_bearer_token_is_refused(value: str, raw: Raw, logs: Logs, unchanged: Unchanged) -> None:
    """What is no bearer token of the right kind is a 401 token_invalid, never a 500 (api.md)."""
    with unchanged():
        answers = [
            raw(
                f"POST {CALLS[name].path}",
                ("Authorization", value),
                ("Content-Type", JSON),
                body=OPERATIONS[name].body,
            )
            for name in BEARERS
        ]
    for answer in answers:
        refused(answer, 401, "token_invalid")
        logs.expect(answer, "sec.auth.fail", code="token_invalid")


@case("raw/013", "createEnrollTokens 403", "sendCommand 403")
@pytest.mark.parametrize("name", ADMINS)
def test_two_admin_keys_are_refused(name: str, post: Sender, system: System, logs: Logs, unchanged: Unchanged) -> None:
    """X-Admin twice is a 403, even if both are good (api.md)."""
    with unchanged():
        answer = post(name, OPERATIONS[name].body, ("X-Admin", system.target.admin_key))
    refused(answer, 403, "admin_required")
    logs.expect(answer, "sec.auth.fail", code="admin_required")


@case("raw/014", "* 401", "* 403")
def test_credentials_are_judged_before_a_hopeless_body(raw: Raw, logs: Logs, unchanged: Unchanged) -> None:
    """Without credentials a body that is too large, no JSON and of another type is a 401 or 403 (api.md)."""
    with unchanged():
        answers = {
            name: raw(f"POST {CALLS[name].path}", ("Content-Type", "text/plain"), body=b"\xff" * 100_000)
            for name in OPERATIONS
        }
    for name, answer in answers.items():
        status, code = (401, "token_missing") if name in BEARERS else (403, "admin_required")
        refused(answer, status, code)
        logs.expect(answer, "sec.auth.fail", code=code)
