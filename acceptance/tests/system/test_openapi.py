"""The judge of answers must refuse what the contract does not document."""

import json
from typing import Any

import pytest

from acceptance.system.openapi import Contract, ContractError
from harness.http.openapi import Document

DOCUMENT: dict[str, Any] = {
    "paths": {
        "/v1/things/{thing_id}": {
            "get": {
                "operationId": "getThing",
                "responses": {
                    "200": {
                        "headers": {"ETag": {"required": True, "schema": {"type": "string", "pattern": '^"[a-z]+"$'}}},
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
                    },
                    "404": {"$ref": "#/components/responses/Missing"},
                },
            },
            "head": {"operationId": "headThing", "responses": {"200": {"description": "as GET"}}},
        },
        "/api/nfs": {
            "post": {
                "operationId": "callBatch",
                "x-rpc-errors": [{"code": -32601, "data_code": "method_not_found"}],
                "responses": {"200": {"content": {"application/json": {}}}},
            },
        },
        "/api/nfs/take": {
            "post": {
                "operationId": "takeThing",
                "x-rpc-errors": [{"code": -32000, "data_code": "not_found"}],
                "responses": {"200": {"content": {"application/json": {}}}, "204": {}},
            },
        },
        "/page": {
            "get": {"operationId": "getPage", "responses": {"200": {"content": {"text/html": {}}}}},
        },
    },
    "components": {
        "responses": {
            "Missing": {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
        },
        "schemas": {
            "Thing": {
                "type": "object",
                "required": ["size"],
                "properties": {"size": {"type": "integer", "maximum": 9}},
                "additionalProperties": False,
            },
            "Problem": {"type": "object", "required": ["code"], "properties": {"code": {"type": "string"}}},
        },
    },
}
CONTRACT = Contract(Document(DOCUMENT))
PATH = "/v1/things/7"


COMMON = {
    "x-request-id": "r-1",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}


def headers(media_type: str = "application/json", **more: str) -> dict[str, str]:
    return {**COMMON, "content-type": media_type, "etag": '"abc"', **more}


def problem(status: int, **members: Any) -> bytes:
    base = {"type": "/problems/not_found", "status": status, "code": "not_found", "request_id": "r-1"}
    return json.dumps({**base, **members}).encode()


PROBLEM = "application/problem+json"


def test_documented_answers_pass() -> None:
    get, head = CONTRACT.find("GET", PATH), CONTRACT.find("HEAD", PATH)
    assert CONTRACT.judge("GET", PATH, 200, headers(), b'{"size": 3}') is get
    assert CONTRACT.judge("HEAD", PATH, 200, headers(), b"") is head
    assert CONTRACT.judge("GET", PATH, 404, headers(PROBLEM), problem(404)) is get
    assert CONTRACT.judge("GET", "/nowhere", 404, headers(PROBLEM), problem(404)) is None
    assert CONTRACT.judge("PUT", PATH, 405, headers(PROBLEM, allow="HEAD, GET"), problem(405)) is None


def test_head_is_judged_as_the_get_that_implies_it() -> None:
    get = CONTRACT.find("GET", "/page")
    assert CONTRACT.judge("HEAD", "/page", 200, headers("text/html"), b"") is get
    assert CONTRACT.judge("PUT", "/page", 405, headers(PROBLEM, allow="GET, HEAD"), problem(405)) is None


CALL = "/api/nfs/take"


def rpc_error(code: int, data_code: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": "No.", "data": {"code": data_code}}}).encode()


def test_a_call_has_a_result_or_an_error_that_its_operation_lists() -> None:
    take = CONTRACT.find("POST", CALL)
    assert CONTRACT.judge("POST", CALL, 200, headers(), b'{"result": 1}') is take
    assert CONTRACT.judge("POST", CALL, 200, headers(), rpc_error(-32000, "not_found")) is take
    assert CONTRACT.judge("POST", CALL, 204, COMMON, b"") is take
    assert CONTRACT.documented()["takeThing"] == ["result", "204", "not_found"]


def test_a_method_by_another_name_is_answered_as_what_calls_by_name() -> None:
    batch, path = CONTRACT.find("POST", "/api/nfs"), "/api/nfs/take_thing"
    for body in (b'{"result": 1}', rpc_error(-32000, "not_found"), rpc_error(-32601, "method_not_found")):
        found = CONTRACT.judge("POST", path, 200, headers(), body)
        assert (found and found.id, batch and batch.id) == ("callBatch", "callBatch")
    assert (CONTRACT.route(path), CONTRACT.route(CALL), CONTRACT.route("/api/nfs")) == (
        "/api/nfs/{name}",
        CALL,
        "/api/nfs",
    )
    assert CONTRACT.judge("GET", path, 405, headers(PROBLEM, allow="POST"), problem(405)) is None
    assert list(CONTRACT.documented()) == ["getThing", "headThing", "callBatch", "takeThing", "getPage"]


@pytest.mark.parametrize(
    "method,path,status,told,body,because",
    [
        ("GET", PATH, 500, headers(PROBLEM), problem(500), "not documented"),
        ("GET", PATH, 201, headers(), b'{"size": 3}', "not documented"),
        ("GET", PATH, 200, headers(), b'{"size": 10}', "size: 10"),
        ("GET", PATH, 200, headers(), b'{"size": 3, "more": 1}', "more"),
        ("GET", PATH, 200, headers(), b"{}", "size"),
        ("GET", PATH, 200, headers(), b'{"size": NaN}', "NaN"),
        ("GET", PATH, 200, headers(), b"<html>", "not JSON"),
        ("GET", PATH, 200, headers("text/html"), b'{"size": 3}', "content type"),
        ("GET", PATH, 200, {**headers(), "etag": "abc"}, b'{"size": 3}', "header ETag"),
        (
            "GET",
            PATH,
            200,
            {**COMMON, "content-type": "application/json"},
            b'{"size": 3}',
            "ETag is missing",
        ),
        *(
            ("GET", PATH, 200, {**headers(), name: value}, b'{"size": 3}', name)
            for name, value in {
                **dict.fromkeys(COMMON, ""),
                "content-security-policy": "default-src 'self'",
                "location": "https://evil.example/",
                "access-control-allow-origin": "*",
                "server": "uvicorn",
                "set-cookie": "a=b",
            }.items()
        ),
        ("HEAD", PATH, 200, headers(), b"x", "a body where none"),
        ("HEAD", "/page", 200, headers("text/html"), b"x", "a body where none"),
        ("HEAD", "/page", 405, headers(PROBLEM, allow="GET"), b"", "not documented"),
        ("PUT", "/page", 405, headers(PROBLEM, allow="GET"), problem(405), "Allow"),
        ("GET", PATH, 404, headers(PROBLEM), problem(400), "problem status"),
        ("GET", PATH, 404, headers(PROBLEM), problem(404, request_id="r-2"), "problem request_id"),
        ("GET", PATH, 404, headers(PROBLEM), problem(404, type="about:blank"), "problem type"),
        ("GET", PATH, 404, headers(), problem(404), "content type"),
        ("POST", CALL, 200, headers(), rpc_error(-32603, "internal_error"), "no error of the operation: -32603"),
        ("POST", CALL, 200, headers(), rpc_error(-32000, "exists"), "no error of the operation: -32000 exists"),
        ("POST", CALL, 200, headers(), b"{}", "no error of the operation"),
        ("POST", CALL, 404, headers(PROBLEM), problem(404), "not documented"),
        ("POST", "/api/nfs/other", 404, headers(PROBLEM), problem(404), "not documented"),
        ("POST", "/api/nfs/other/one", 200, headers(), b'{"result": 1}', "expected 404"),
        ("GET", "/nowhere", 200, headers(), b"{}", "expected 404"),
        ("GET", "/v1/things/7/", 307, headers(), b"", "expected 404"),
        ("PUT", PATH, 404, headers(PROBLEM), problem(404), "expected 405"),
        ("PUT", PATH, 405, headers(PROBLEM), problem(405), "Allow"),
        ("PUT", PATH, 405, headers(PROBLEM, allow="GET"), problem(405), "Allow"),
    ],
)
def test_anything_else_is_refused(
    method: str, path: str, status: int, told: dict[str, str], body: bytes, because: str
) -> None:
    with pytest.raises(ContractError, match=because):
        CONTRACT.judge(method, path, status, told, body)


def test_the_real_contract_can_be_read() -> None:
    contract = Contract.load()
    found = contract.find("GET", "/v1/devices/01890000-0000-7000-8000-000000000000")
    assert found is not None
    assert found.id == "getDevice"
    assert contract.allowed("/v1/apk/download-latest") == {"GET", "HEAD"}
    assert "503" in contract.documented()["recordHeartbeat"]
