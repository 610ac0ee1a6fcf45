"""The house rules of openapi.yaml that no linter knows: what api.md asks of every operation, and the file's own order.

They read no code. Each rule yields one line per breach. EXCEPTIONS is data, with a reason each, and an exception that
excepts nothing is a breach itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

from contracts.lint import rpc_rules
from harness.http.openapi import Document, Json, Operation

_CONDITIONS: Final = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
EXCEPTIONS: Final = {
    **{
        f"{operation} parameter {name}: unbounded string": "RFC 9110 has a value that is malformed ignored, not refused"
        for operation, names in {
            "downloadLatestApk": (*_CONDITIONS, "If-Range", "Range"),
            "headLatestApk": _CONDITIONS,
            "setAgentSpec": ("If-Match",),
        }.items()
        for name in names
    },
    "allocateSandbox parameter Prefer: unbounded string": "RFC 7240 has a preference that is malformed ignored, too",
    "uploadApkBuild: no 400": "the body is bytes: there is no form that it could lack",
    "createUpload: no 415": "tus has a body of another type be a creation without bytes",
}
# They can stand for any request and are explained once, in info.description.
EVERYWHERE: Final = {
    "malformed_request",
    "not_found",
    "method_not_allowed",
    "request_timeout",
    "head_too_large",
    "internal_error",
}
_HEADERS: Final = {"401": "WWW-Authenticate", "416": "Content-Range", "429": "Retry-After", "503": "Retry-After"}
_SHAREABLE: Final = frozenset({"responses", "headers", "parameters", "examples"})
# JSON of any shape: a member that has one of those names is none of them.
_OPAQUE: Final = frozenset({"schema", "schemas", "value", "links"})
_CHARACTER_CLASS: Final = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]")


def breaches(document: Document) -> list[str]:
    """One line per breach, exceptions left out."""
    found = [line for rule in RULES for operation in document.operations() for line in rule(document, operation)]
    found += [line for rule in RULES_OF_THE_WHOLE for line in rule(document)]
    idle = [f"house_rules.py: the exception for `{line}` excepts nothing" for line in EXCEPTIONS if line not in found]
    return [line for line in found if line not in EXCEPTIONS] + idle


def _texts(document: Document, operation: Operation) -> Iterator[str]:
    declared = {tag["name"] for tag in document.content.get("tags", [])}
    for name in ("operationId", "summary", "description"):
        if not operation.definition.get(name):
            yield f"{operation.label}: no {name}"
    if len(operation.definition.get("tags", [])) != 1 or not declared.issuperset(operation.definition["tags"]):
        yield f"{operation.id}: not exactly one declared tag"
    if "security" not in operation.definition:
        yield f"{operation.id}: does not say who may call"


def _statuses(_: Document, operation: Operation) -> Iterator[str]:
    wanted: set[str] = set()
    schemes = {name for requirement in operation.definition.get("security", []) for name in requirement}
    if schemes:
        wanted |= {"429", "503"} | ({"403"} if "adminKey" in schemes else set())
        wanted |= {"401"} if schemes & {"deviceToken", "enrolmentToken"} else set()
        # A key alone is missing, unknown (401) or of another role (403); beside X-Admin all of that is 403.
        wanted |= {"401", "403"} if schemes <= {"apiKey", "trackKey", "zoneKey"} else set()
    if operation.rpc_errors:
        wanted |= rpc_rules.STATUSES
    elif "requestBody" in operation.definition:
        wanted |= {"400", "413", "415", "422"}
    if any(parameter["in"] in ("path", "query") for parameter in operation.parameters):
        wanted.add("422")
    for status in sorted(wanted - operation.statuses):
        yield f"{operation.id}: no {status}"


def _answers(document: Document, operation: Operation) -> Iterator[str]:
    for status, response in operation.definition["responses"].items():
        answer = document.resolve(response)
        headers = {
            name for name, header in answer.get("headers", {}).items() if document.resolve(header).get("required")
        }
        for name in ("X-Request-ID", _HEADERS.get(status)):
            if name is not None and name not in headers:
                yield f"{operation.id} {status}: {name} is not a required header"
        for media_type, content in answer.get("content", {}).items():
            if not content.get("examples"):
                yield f"{operation.id} {status} {media_type}: no example"
            if status >= "400" and media_type != "application/problem+json":
                yield f"{operation.id} {status}: a refusal as {media_type}"


def _requests(document: Document, operation: Operation) -> Iterator[str]:
    for parameter in operation.parameters:
        where = f"{operation.id} parameter {parameter['name']}"
        yield from _bounds(document, parameter.get("schema", {}), where)
    body = document.resolve(operation.definition.get("requestBody", {}))
    for media_type, content in body.get("content", {}).items():
        if not content.get("examples"):
            yield f"{operation.id} body {media_type}: no example"
        yield from _bounds(document, content.get("schema", {}), f"{operation.id} body")


def _bounds(document: Document, schema: Any, where: str) -> Iterator[str]:
    """Every string, number, array and object that a caller may send is bounded."""
    shape = document.resolve(schema)
    for branch in (*shape.get("oneOf", ()), *shape.get("anyOf", ()), *shape.get("allOf", ())):
        yield from _bounds(document, branch, where)
    kind = shape.get("type")
    if kind == "string" and not _bounded_string(shape):
        yield f"{where}: unbounded string"
    elif kind in ("integer", "number") and not ("minimum" in shape and "maximum" in shape):
        yield f"{where}: unbounded {kind}"
    elif kind == "array":
        if "maxItems" not in shape:
            yield f"{where}: unbounded array"
        yield from _bounds(document, shape.get("items", {}), f"{where}[]")
    elif kind == "object":
        yield from _members(document, shape, where)


def _members(document: Document, shape: Json, where: str) -> Iterator[str]:
    others = shape.get("additionalProperties", True)
    if others is True:
        yield f"{where}: open object"
    elif others is not False:
        if "maxProperties" not in shape or "propertyNames" not in shape:
            yield f"{where}: unbounded object"
        yield from _bounds(document, others, f"{where}.*")
    for name, member in shape.get("properties", {}).items():
        yield from _bounds(document, member, f"{where}.{name}")


def _bounded_string(shape: Json) -> bool:
    if {"maxLength", "enum", "const"} & shape.keys() or shape.get("format") == "binary":
        return True
    pattern = shape.get("pattern", "")
    # Outside of character classes, an anchored pattern without * and + has a longest match.
    return bool(re.fullmatch(r"\^.*\$", pattern)) and not re.search(r"[*+]|,\}", _CHARACTER_CLASS.sub("", pattern))


def _problem_codes(document: Document) -> Iterator[str]:
    """The table in info.description, the enum, and what the answers say are the same codes with the same statuses."""
    enum = set(document.at("#/components/schemas/ProblemCode")["enum"])
    table = set(re.findall(r"^\| (\d{3}) \| `(\w+)` \|", document.content["info"].get("description", ""), re.MULTILINE))
    for code in sorted(enum ^ {code for _, code in table}):
        yield f"problem code {code}: not in both the enum and the table"
    used: set[tuple[str, str]] = set()
    for operation in document.operations():
        for status, response in operation.definition["responses"].items():
            for content in document.resolve(response).get("content", {}).values():
                code = content.get("schema", {}).get("properties", {}).get("code", {})
                used |= {(status, name) for name in code.get("enum", [code["const"]] if "const" in code else [])}
    for status, code in sorted(used ^ {row for row in table if row[1] not in EVERYWHERE}):
        yield f"problem code {status} {code}: not in both the table and the answers"


def _repetitions(document: Document) -> Iterator[str]:
    """No response, header, parameter or example stands twice word for word: the second one is a $ref."""
    first: dict[tuple[str, str], str] = {}
    for part in ("components", "paths"):
        for kind, place, node in _written_out(document.content.get(part, {}), f"#/{part}"):
            words = json.dumps(node, sort_keys=True)
            if first.setdefault((kind, words), place) != place:
                yield f"{place}: the same as {first[kind, words]}: refer to one component"


def _written_out(node: Any, place: str) -> Iterator[tuple[str, str, Json]]:
    """Kind, place and content of everything of a kind that may be shared, references left out."""
    for name, child in _children(node):
        here = f"{place}/{name.replace('/', '~1')}"
        if name in _SHAREABLE:
            for key, one in _children(child):
                if "$ref" not in one:
                    yield name, f"{here}/{key}", one
        if name not in _OPAQUE:
            yield from _written_out(child, here)


def _children(node: Any) -> Iterator[tuple[str, Any]]:
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return ((str(key), child) for key, child in pairs)


def _order(document: Document) -> Iterator[str]:
    """x-tagGroups names the declared tags in their order, each once, and the operations stand in this order."""
    declared = [tag["name"] for tag in document.content.get("tags", [])]
    grouped = [tag for group in document.content.get("x-tagGroups", []) for tag in group["tags"]]
    if grouped != declared:
        yield f"x-tagGroups: {', '.join(grouped)}; the tags are {', '.join(declared)}"
    tagged = [(op.id, tag) for op in document.operations() for tag in op.definition.get("tags", []) if tag in declared]
    for (_, before), (name, tag) in pairwise(tagged):
        if declared.index(tag) < declared.index(before):
            yield f"{name}: tag {tag} stands behind tag {before}"


RULES: Final[tuple[Callable[[Document, Operation], Iterator[str]], ...]] = (
    _texts,
    _statuses,
    _answers,
    _requests,
    rpc_rules.of_an_operation,
)
RULES_OF_THE_WHOLE: Final[tuple[Callable[[Document], Iterator[str]], ...]] = (
    _problem_codes,
    _repetitions,
    _order,
    rpc_rules.of_the_whole,
)
