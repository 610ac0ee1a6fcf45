"""The drift gate names every difference, in both directions, and none where two documents say the same."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from contracts.drift import drift
from contracts.drift.schema_diff import differences, normal
from contracts.tests.stub import running
from harness.http.openapi import Document, Json

SPEC = Document.read()


def changed(change: Callable[[Json], Any]) -> Document:
    content = copy.deepcopy(SPEC.content)
    change(content)
    return Document(content)


def both_ways(other: Document) -> tuple[list[str], list[str]]:
    return drift.drift(SPEC, other), drift.drift(other, SPEC)


def operation(content: Json, method: str, path: str) -> Json:
    found: Json = content["paths"][path][method]
    return found


def schema(content: Json, name: str) -> Json:
    found: Json = content["components"]["schemas"][name]
    return found


def test_no_drift() -> None:
    assert drift.drift(SPEC, SPEC) == []


CHANGES: dict[str, tuple[Callable[[Json], Any], str]] = {
    "operation": (lambda c: c["paths"].pop("/metrics"), "GET /metrics: only in the"),
    "method": (
        lambda c: c["paths"]["/v1/apk/download-latest"].pop("head"),
        "HEAD /v1/apk/download-latest: only in the",
    ),
    "operationId": (lambda c: operation(c, "get", "/healthz").update(operationId="health"), "operationId: spec"),
    "status": (
        lambda c: operation(c, "post", "/v1/register")["responses"].pop("409"),
        "registerDevice status 409: only in",
    ),
    "parameter": (
        lambda c: operation(c, "get", "/v1/devices")["parameters"].pop(0),
        "listDevices parameter status in query: only in the",
    ),
    "header": (lambda c: operation(c, "post", "/admin/command")["parameters"].pop(), "parameter x-signature in header"),
    "required parameter": (
        lambda c: c["components"]["parameters"]["Alias"].pop("required"),
        "alias in query required: spec",
    ),
    "parameter's bound": (
        lambda c: c["components"]["parameters"]["Limit"]["schema"].update(maximum=100),
        "parameter limit in query maximum: spec",
    ),
    "parameter's default": (
        lambda c: c["components"]["parameters"]["Limit"]["schema"].pop("default"),
        "parameter limit in query default: spec",
    ),
    "enum": (lambda c: schema(c, "HeartbeatStatus")["enum"].append("dead"), "recordHeartbeat body.status enum: spec"),
    "pattern": (lambda c: schema(c, "Alias").update(pattern="^.*$"), "registerDevice body.alias pattern: spec"),
    "property": (
        lambda c: schema(c, "RegisterRequest")["properties"].pop("model"),
        "registerDevice body.model: only in the",
    ),
    "required property": (
        lambda c: schema(c, "HeartbeatRequest").pop("required"),
        "recordHeartbeat body required: spec",
    ),
    "closed object": (
        lambda c: schema(c, "EnrollTokensRequest").pop("additionalProperties"),
        "createEnrollTokens body additionalProperties: spec",
    ),
    "array's bound": (lambda c: schema(c, "DeviceIds").update(maxItems=10), "device_ids maxItems: spec"),
    "branch": (lambda c: schema(c, "CommandRequest")["oneOf"].pop(), "body"),
    "inner rule": (lambda c: schema(c, "PingCommand").pop("allOf"), "[action=ping] oneOf: spec"),
    "nested property": (
        lambda c: schema(c, "LaunchAppParams")["properties"].pop("activity"),
        "params.activity: only in the",
    ),
    "media type": (
        lambda c: operation(c, "post", "/v1/heartbeat")["requestBody"].update(content={"text/plain": {}}),
        "recordHeartbeat body application/json: only in the",
    ),
    "body": (lambda c: operation(c, "post", "/v1/heartbeat").pop("requestBody"), "recordHeartbeat body required: spec"),
    "null allowed": (
        lambda c: schema(c, "Fact").update(type=["string", "null"]),
        "registerDevice body.model type: spec",
    ),
    "additional values": (
        lambda c: schema(c, "ResultData")["additionalProperties"]["anyOf"].pop(),
        "body.data additionalProperties anyOf[boolean]: only in the",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_red_both_ways(name: str) -> None:
    change, words = CHANGES[name]
    for found in both_ways(changed(change)):
        assert any(words in line for line in found), found
        assert all("\n" not in line for line in found)


SAME: dict[str, tuple[Json, Json]] = {
    "const": ({"const": "ping"}, {"type": "string", "enum": ["ping"]}),
    "type list": ({"type": ["string", "null"]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
    "allOf of one": ({"type": "integer", "minimum": 1}, {"allOf": [{"type": "integer", "minimum": 1.0}]}),
    "titles": ({"type": "string"}, {"type": "string", "title": "X", "description": "Y", "examples": ["z"]}),
    "defaults of JSON Schema": ({"type": "array"}, {"type": "array", "minItems": 0, "uniqueItems": False}),
    "order": ({"required": ["a", "b"]}, {"required": ["b", "a"]}),
    "order of branches": (
        {"oneOf": [{"type": "string"}, {"type": "object"}]},
        {"oneOf": [{"type": "object"}, {"type": "string"}]},
    ),
    "names": (
        {"propertyNames": {"pattern": "^a$"}, "additionalProperties": {"type": "string"}},
        {"patternProperties": {"^a$": {"type": "string"}}, "additionalProperties": False},
    ),
    "integer beside number": (
        {"anyOf": [{"type": "number"}, {"type": "string"}]},
        {"anyOf": [{"type": "integer"}, {"type": "number"}, {"type": "string"}]},
    ),
    "one-sided format": ({"type": "string", "pattern": "^x$"}, {"type": "string", "pattern": "^x$", "format": "uuid"}),
    "own definitions": ({"type": "string"}, {"$ref": "#/$defs/A", "$defs": {"A": {"type": "string"}}}),
}


@pytest.mark.parametrize("name", SAME)
def test_same_in_other_words(name: str) -> None:
    left, right = SAME[name]
    assert list(differences(normal(left, SPEC), normal(right, SPEC), "x")) == []


def test_different_formats_differ() -> None:
    assert list(differences({"format": "uuid"}, {"format": "date"}, "x")) == ['x format: spec "uuid", code "date"']


def test_null_counts_in_bodies_only() -> None:
    nullable = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert list(differences(normal({"type": "string"}, SPEC), normal(nullable, SPEC), "x"))
    assert normal({"type": "string"}, SPEC, on_the_wire=True) == normal(nullable, SPEC, on_the_wire=True)


def test_served_document() -> None:
    with running() as target:
        found = drift.served_drift(target)
    assert [line.split(":")[0] for line in found] == ["GET /openapi.yaml", "GET /openapi.json"]


@pytest.mark.parametrize("command", ["/nonexistent/nexmdm", "false", "echo no json"])
def test_no_code_to_compare_with(command: str) -> None:
    with pytest.raises(drift.NothingToCompare):
        drift.code_document(command)
