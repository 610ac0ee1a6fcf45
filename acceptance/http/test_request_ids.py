"""X-Request-ID: kept when it is well-formed, else replaced; on the answer and on every log line."""

import uuid

import pytest

from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.raw import Raw
from acceptance.system.system import new_alias


@case("errors/009")
@pytest.mark.parametrize("given", ["acceptance-1", "abc", "A.b_c-9", "x" * 64])
def test_a_good_request_id_is_kept(given: str, api: Api, logs: Logs) -> None:
    """A well-formed X-Request-ID is echoed and stands on every log line of the request (api.md; 000: request_id)."""
    given = f"{given[:-8]}{uuid.uuid4().hex[:8]}"
    answer = api.admin("POST", "/v1/enroll-tokens", json={"aliases": [new_alias()]}, request_id=given)
    accepted(answer)
    assert answer.request_id == given
    for event in ("db_operation", "sec.token.create", "http.request"):
        logs.expect(answer, event)
    refusal = api.request("GET", "/nowhere", request_id=f"{given[:-1]}-")
    refused(refusal, 404, "not_found")
    assert refusal.request_id == f"{given[:-1]}-"


@case("errors/010")
@pytest.mark.parametrize(
    "given",
    [
        [],
        [""],
        [" "],
        ["a b"],
        ["a%20b"],
        ["a\tb"],
        ["a/b"],
        ["a,b"],
        ["<script>"],
        ["\xe9"],
        ["x" * 65],
        ["one", "two"],
    ],
    ids=repr,
)
def test_a_bad_request_id_is_replaced(given: list[str], raw: Raw, logs: Logs) -> None:
    """A missing, malformed or repeated X-Request-ID is replaced by a UUIDv7, in the answer and in the log (api.md)."""
    answer = raw("GET /healthz", *(("X-Request-ID", value) for value in given))
    accepted(answer)
    assert answer.request_id
    assert answer.request_id not in given
    assert uuid.UUID(answer.request_id).version == 7
    logs.expect(answer, "http.request", status=200)
