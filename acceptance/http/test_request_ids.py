"""X-Request-ID: kept when it is well-formed, else replaced; on the answer and on every log line."""

import uuid

import pytest

from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.logs import Logs
from acceptance.system.match import accepted
from acceptance.system.system import new_alias


@case("errors/009")
@pytest.mark.parametrize("given", ["acceptance-1", "A.b_c-9", "x" * 64])
def test_a_good_request_id_is_kept(given: str, api: Api, logs: Logs) -> None:
    """A well-formed X-Request-ID is echoed and stands on every log line of the request (api.md; 000: request_id)."""
    given = f"{given[:-8]}{uuid.uuid4().hex[:8]}"[-64:]
    answer = api.admin("POST", "/v1/enroll-tokens", json={"aliases": [new_alias()]}, request_id=given)
    accepted(answer)
    assert answer.request_id == given
    for event in ("db_operation", "sec.token.create", "http.request"):
        logs.expect(answer, event)


@case("errors/010")
@pytest.mark.parametrize("given", [[], [""], ["a b"], ["x" * 65], ["one", "two"], ["a/b"]], ids=str)
def test_a_bad_request_id_is_replaced(given: list[str], api: Api, logs: Logs) -> None:
    """A missing, malformed or repeated X-Request-ID is replaced by a UUIDv7, in the answer and in the log (api.md)."""
    headers = [("X-Request-ID", value) for value in given]
    answer = api.take("GET", "/healthz", api.transport.send("GET", "/healthz", headers=headers))
    accepted(answer)
    assert answer.request_id
    assert answer.request_id not in given
    assert uuid.UUID(answer.request_id).version == 7
    logs.expect(answer, "http.request", status=200)
