"""An answer counts as its status, a call of JSON-RPC as what its body says."""

import json
from typing import Any

import pytest

from harness.http.answers import documented, outcomes, undocumented_errors
from harness.http.openapi import Document

NOT_FOUND = {"code": -32000, "data_code": "not_found"}
RESPONSES = {"200": {}, "204": {"x-no-case": "nobody notifies"}, "409": {}}
DOCUMENT = Document(
    {
        "paths": {
            "/things": {"get": {"operationId": "listThings", "responses": {"200": {}, "404": {}}}},
            "/api/nfs": {
                "post": {
                    "operationId": "callBatch",
                    "x-rpc-errors": [{"code": -32601, "data_code": "method_not_found"}],
                    "responses": RESPONSES,
                }
            },
            "/api/nfs/take": {
                "post": {
                    "operationId": "takeThing",
                    "x-rpc-errors": [NOT_FOUND, {"code": -32011, "data_code": "away", "x-no-case": "it is never away"}],
                    "responses": RESPONSES,
                }
            },
        }
    }
)
TAKE, BATCH = DOCUMENT.operation("takeThing"), DOCUMENT.operation("callBatch")
RESULT = {"jsonrpc": "2.0", "id": 1, "result": None}


def error(code: int, data_code: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": "No.", "data": {"code": data_code}}}


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_the_documented_answers_of_a_call_are_its_result_its_errors_and_the_other_statuses() -> None:
    assert documented(DOCUMENT, DOCUMENT.operation("listThings")) == {"200": "", "404": ""}
    told = {"result": "", "204": "nobody notifies", "409": "", "not_found": "", "away": "it is never away"}
    assert documented(DOCUMENT, TAKE) == told


@pytest.mark.parametrize(
    "status,value,counted",
    [
        (200, RESULT, ["result"]),
        (200, error(-32000, "not_found"), ["not_found"]),
        (200, [RESULT, error(-32000, "not_found"), RESULT], ["not_found", "result"]),
        (200, "hello", ["unreadable"]),
        (200, {"error": {"code": -32603}}, ["unreadable"]),
        (200, {"jsonrpc": "2.0", "id": 1}, ["unreadable"]),
        (409, RESULT, ["409"]),
        (204, "", ["204"]),
    ],
)
def test_an_answer_to_a_call_counts_as_what_it_says(status: int, value: Any, counted: list[str]) -> None:
    assert outcomes(TAKE, status, body(value)) == counted


def test_another_answer_counts_as_its_status() -> None:
    assert outcomes(DOCUMENT.operation("listThings"), 200, body(RESULT)) == ["200"]


def test_an_error_that_the_method_does_not_list_is_told() -> None:
    assert undocumented_errors(DOCUMENT, TAKE, 200, body(error(-32000, "not_found"))) == []
    assert undocumented_errors(DOCUMENT, TAKE, 200, body(RESULT)) == []
    assert undocumented_errors(DOCUMENT, TAKE, 409, b"") == []
    assert undocumented_errors(DOCUMENT, TAKE, 200, body(error(-32603, "internal_error"))) == ["-32603 internal_error"]
    assert undocumented_errors(DOCUMENT, TAKE, 200, body(error(-32001, "not_found"))) == ["-32001 not_found"]
    assert undocumented_errors(DOCUMENT, TAKE, 200, body(error(-32601, "method_not_found")))
    assert undocumented_errors(DOCUMENT, TAKE, 200, b"{")


def test_a_batch_has_the_errors_of_every_method() -> None:
    assert undocumented_errors(DOCUMENT, BATCH, 200, body([error(-32000, "not_found"), RESULT])) == []
    assert undocumented_errors(DOCUMENT, BATCH, 200, body([RESULT, error(-32603, "internal_error")]))
