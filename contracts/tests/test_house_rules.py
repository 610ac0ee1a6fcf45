"""Every house rule turns red on a specification that breaks it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from contracts.lint import house_rules
from contracts.lint.house_rules import breaches
from harness.http.openapi import Document, Json

CONTENT = Document.read().content


def operation(content: Json, method: str, path: str) -> Any:
    return content["paths"][path][method]


def responses(content: Json, name: str) -> Any:
    return content["components"]["responses"][name]


def rpc_errors(content: Json) -> Any:
    return operation(content, "post", "/api/nfs/read")["x-rpc-errors"]


def member(content: Json, schema: str, name: str) -> Any:
    return content["components"]["schemas"][schema]["properties"][name]


BREACHES: dict[str, tuple[Callable[[Json], Any], str]] = {
    "no summary": (lambda c: operation(c, "get", "/healthz").pop("summary"), "GET /healthz: no summary"),
    "undeclared tag": (
        lambda c: operation(c, "get", "/healthz").update(tags=["x"]),
        "getHealth: not exactly one declared tag",
    ),
    "no security": (lambda c: operation(c, "get", "/docs").pop("security"), "getDocs: does not say who may call"),
    "key alone without 401": (
        lambda c: operation(c, "get", "/v1/admin/stats")["responses"].pop("401"),
        "getSandboxStats: no 401",
    ),
    "track without 403": (
        lambda c: operation(c, "post", "/v1/allocate")["responses"].pop("403"),
        "allocateSandbox: no 403",
    ),
    "admin without 403": (lambda c: operation(c, "get", "/metrics")["responses"].pop("403"), "getMetrics: no 403"),
    "device without 401": (
        lambda c: operation(c, "post", "/v1/heartbeat")["responses"].pop("401"),
        "recordHeartbeat: no 401",
    ),
    "body without 415": (
        lambda c: operation(c, "post", "/v1/register")["responses"].pop("415"),
        "registerDevice: no 415",
    ),
    "query without 422": (lambda c: operation(c, "get", "/v1/devices")["responses"].pop("422"), "listDevices: no 422"),
    "call without its statuses": (
        lambda c: operation(c, "post", "/api/nfs/read")["responses"].pop("204"),
        "readFile: no 204",
    ),
    "call with 422": (
        lambda c: operation(c, "post", "/api/nfs/read")["responses"].update({"422": {"description": "No."}}),
        "readFile: 422, and invalid_params",
    ),
    "call without errors": (
        lambda c: operation(c, "post", "/api/nfs/read").pop("x-rpc-errors"),
        "readFile: x-rpc-errors are of the operations at /api/nfs, of all of them",
    ),
    "errors of no call": (
        lambda c: operation(c, "get", "/readyz").update({"x-rpc-errors": [{"code": -32000, "data_code": "not_found"}]}),
        "getReadiness: x-rpc-errors are of the operations at /api/nfs, of all of them",
    ),
    "error without its code": (lambda c: rpc_errors(c)[0].pop("code"), "readFile x-rpc-errors: {'data_code'"),
    "error twice": (lambda c: rpc_errors(c).append(rpc_errors(c)[0]), "readFile x-rpc-errors: parse_error stands"),
    "call that is always well-formed": (lambda c: rpc_errors(c).pop(0), "readFile x-rpc-errors: no parse_error"),
    "call with another answer": (
        lambda c: operation(c, "post", "/api/nfs/read")["responses"]["200"]["content"]["application/json"].update(
            schema={"type": "object"}
        ),
        "readFile 200: not an answer of JSON-RPC",
    ),
    "error that the table lacks": (
        lambda c: rpc_errors(c).append({"code": -32000, "data_code": "out_of_ink"}),
        "JSON-RPC error -32000 out_of_ink: not in both the table and x-rpc-errors",
    ),
    "error that no call has": (
        lambda c: [one.update(data_code="exists") for one in rpc_errors(c) if one["data_code"] == "too_large"],
        "JSON-RPC error -32005 exists: not in both the table and x-rpc-errors",
    ),
    "error that the enum lacks": (
        lambda c: c["components"]["schemas"]["RpcDataCode"]["enum"].remove("tree_changed"),
        "JSON-RPC error tree_changed: not in both the enum and the table",
    ),
    "number that the enum lacks": (
        lambda c: member(c, "RpcError", "code")["enum"].remove(-32010),
        "JSON-RPC error -32010: not in both the enum and the table",
    ),
    "no request id": (
        lambda c: responses(c, "Device")["headers"].pop("X-Request-ID"),
        "getDevice 200: X-Request-ID is not a required header",
    ),
    "optional Retry-After": (
        lambda c: c["components"]["headers"]["RetryAfter"].pop("required"),
        "getMetrics 429: Retry-After is not a required header",
    ),
    "no challenge": (
        lambda c: responses(c, "DeviceTokenRefused")["headers"].pop("WWW-Authenticate"),
        "recordHeartbeat 401: WWW-Authenticate is not a required header",
    ),
    "no example of an answer": (
        lambda c: responses(c, "NoBuild")["content"]["application/problem+json"].pop("examples"),
        "downloadLatestApk 404 application/problem+json: no example",
    ),
    "no example of a request": (
        lambda c: operation(c, "post", "/v1/heartbeat")["requestBody"]["content"]["application/json"].pop("examples"),
        "recordHeartbeat body application/json: no example",
    ),
    "refusal that is no problem": (
        lambda c: responses(c, "NoBuild").update(content={"text/plain": {"examples": {"a": {"value": "b"}}}}),
        "downloadLatestApk 404: a refusal as text/plain",
    ),
    "unbounded string": (
        lambda c: member(c, "EnrollTokensRequest", "note").pop("maxLength"),
        "body.note: unbounded string",
    ),
    "unbounded pattern": (
        lambda c: c["components"]["schemas"]["Alias"].update(pattern="^[a-z]+$"),
        "registerDevice body.alias: unbounded string",
    ),
    "unanchored pattern": (
        lambda c: c["components"]["schemas"]["Alias"].update(pattern="[a-z]{1,9}"),
        "registerDevice body.alias: unbounded string",
    ),
    "unbounded number": (
        lambda c: member(c, "HeartbeatRequest", "temp_c").pop("maximum"),
        "body.temp_c: unbounded number",
    ),
    "unbounded parameter": (
        lambda c: c["components"]["parameters"]["Limit"]["schema"].pop("maximum"),
        "listDevices parameter limit: unbounded integer",
    ),
    "unbounded array": (
        lambda c: c["components"]["schemas"]["DeviceIds"].pop("maxItems"),
        "device_ids: unbounded array",
    ),
    "open request": (
        lambda c: c["components"]["schemas"]["HeartbeatRequest"].pop("additionalProperties"),
        "recordHeartbeat body: open object",
    ),
    "unbounded map": (
        lambda c: c["components"]["schemas"]["ResultData"].pop("maxProperties"),
        "completeAction body.data: unbounded object",
    ),
    "code that the table lacks": (
        lambda c: c["components"]["schemas"]["ProblemCode"]["enum"].append("out_of_ink"),
        "problem code out_of_ink: not in both the enum and the table",
    ),
    "code under another status": (
        lambda c: c["info"].update(
            description=c["info"]["description"].replace("| 404 | `no_build`", "| 410 | `no_build`")
        ),
        "problem code 404 no_build: not in both the table and the answers",
    ),
    "code that no answer has": (
        lambda c: responses(c, "NoBuild")["content"]["application/problem+json"]["schema"]["properties"].pop("code"),
        "problem code 404 no_build: not in both the table and the answers",
    ),
    "answer twice": (
        lambda c: [
            operation(c, "get", path)["responses"].update({"404": {"description": "There is nothing."}})
            for path in ("/healthz", "/readyz")
        ],
        "#/paths/~1readyz/get/responses/404: the same as #/paths/~1healthz/get/responses/404",
    ),
    "copy of a shared answer": (
        lambda c: operation(c, "get", "/metrics")["responses"].update({"429": responses(c, "RateLimited")}),
        "#/paths/~1metrics/get/responses/429: the same as #/components/responses/RateLimited",
    ),
    "shared answer twice": (
        lambda c: c["components"]["responses"].update(Busy=responses(c, "Overloaded")),
        "#/components/responses/Busy: the same as #/components/responses/Overloaded",
    ),
    "header twice": (
        lambda c: responses(c, "RateLimited")["headers"].update(Wait=c["components"]["headers"]["RetryAfter"]),
        "#/components/responses/RateLimited/headers/Wait: the same as #/components/headers/RetryAfter",
    ),
    "parameter twice": (
        lambda c: operation(c, "get", "/v1/devices")["parameters"].append(c["components"]["parameters"]["Limit"]),
        "#/paths/~1v1~1devices/get/parameters/6: the same as #/components/parameters/Limit",
    ),
    "example twice": (
        lambda c: responses(c, "Unavailable")["content"]["application/problem+json"]["examples"].update(
            overloaded=c["components"]["examples"]["Overloaded"]
        ),
        "application~1problem+json/examples/overloaded: the same as #/components/examples/Overloaded",
    ),
    "tag without a group": (lambda c: c["x-tagGroups"][0]["tags"].pop(), "x-tagGroups: enrolment, device, commands,"),
    "groups out of order": (lambda c: c["x-tagGroups"].reverse(), "x-tagGroups: operations, keys, zones,"),
    "operation out of order": (
        lambda c: c["paths"].update({"/v1/register": c["paths"].pop("/v1/register")}),
        "registerDevice: tag enrolment stands behind tag operations",
    ),
}


def test_no_breach() -> None:
    assert breaches(Document.read()) == []


@pytest.mark.parametrize("name", BREACHES)
def test_red(name: str) -> None:
    change, words = BREACHES[name]
    content = copy.deepcopy(CONTENT)
    change(content)
    assert any(words in line for line in breaches(Document(content)))


def test_an_exception_must_except_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(house_rules.EXCEPTIONS, "getDocs: no 418", "tea")
    assert breaches(Document.read()) == ["house_rules.py: the exception for `getDocs: no 418` excepts nothing"]
