"""Judges one answer against openapi.yaml: the status is documented, the content type, headers and body are as written.

Does not judge requests: cases send wrong ones on purpose.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any
from urllib.parse import quote

import jsonschema_rs

from harness.http import answers
from harness.http.openapi import Document, Operation, escape

PROBLEM = "application/problem+json"
# Browsers that are led here get nothing to work with (openapi.yaml: info.description).
_ALWAYS = {
    "x-request-id": r".",
    "cache-control": r"no-store|no-cache|private",
    "x-content-type-options": r"^nosniff$",
    "x-frame-options": r"^DENY$",
    "referrer-policy": r"^no-referrer$",
    "content-security-policy": r"^default-src 'none'(?!.*unsafe-eval).*frame-ancestors 'none'",
}
# The route of a method by another name than its operation's (openapi.yaml: JSON-RPC).
_BY_NAME = "/api/nfs/{name}"
# No other origin reads an answer, nothing redirects, nothing keeps state in a browser or says what software this is.
# An upload that is begun is told where it goes on.
_LOCATED = ("createUpload", 201)
_NEVER = re.compile(r"access-control-.*|location|refresh|set-cookie|server|x-powered-by")


class ContractError(AssertionError):
    """The answer is not one that the contract documents."""


class Contract:
    """The hand-written contract, indexed for judging answers."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._registry = jsonschema_rs.Registry([("nexmdm:openapi", document.content)])
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}
        self.operations = list(document.operations())
        # Other names of methods, and those of none, are answered as what calls methods by their names.
        by_name = [
            dataclasses.replace(one, path=_BY_NAME) for one in self.operations if f"{one.path}/{{name}}" == _BY_NAME
        ]
        self._routes = [*self.operations, *by_name]

    @classmethod
    @functools.cache
    def load(cls) -> "Contract":
        return cls(Document.read())

    def find(self, method: str, path: str) -> Operation | None:
        """The documented operation of a request; None when the contract knows no such path or method.

        A HEAD that is not documented itself is that of the path's GET (info.description).
        """
        methods = ("head", "get") if method == "HEAD" else (method.lower(),)
        return next((one for name in methods for one in self._at(path) if one.method == name), None)

    def route(self, path: str) -> str | None:
        """The path template, as log lines and metrics name it; None for a path outside the contract."""
        return next((one.path for one in self._at(path)), None)

    def allowed(self, path: str) -> set[str]:
        """The methods of a path; HEAD is one of them wherever GET is."""
        documented = {one.method.upper() for one in self._at(path)}
        return documented | ({"HEAD"} if "GET" in documented else set())

    def _at(self, path: str) -> list[Operation]:
        bare = path.partition("?")[0]
        found = [one for one in self._routes if one.pattern.fullmatch(bare)]
        return [one for one in found if one.path == bare] or found

    def documented(self) -> dict[str, list[str]]:
        """Every documented (operation, answer): what a complete run must have seen."""
        return {one.id: list(answers.documented(self.document, one)) for one in self.operations}

    def judge(self, method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> Operation | None:
        """Raises ContractError unless the answer is documented; returns the operation that gave it."""
        operation = self.find(method, path)
        located = operation is not None and (operation.id, status) == _LOCATED
        _judge_common_headers(f"{method} {path} -> {status}", headers, may_have={"location"} if located else set())
        if operation is None:
            self._judge_framework(method, path, status, headers, body)
            return None
        where = f"{operation.id} -> {status}"
        if str(status) not in operation.statuses:
            listed = ", ".join(sorted(operation.statuses))
            raise ContractError(f"{where}: not documented (documented: {listed}); body {body[:300]!r}")
        pointer, response = self.document.follow(f"{operation.pointer}/responses/{status}")
        self._judge_headers(where, pointer, response.get("headers", {}), headers)
        self._judge_body(where, pointer, response.get("content"), method, status, headers, body)
        if foreign := answers.undocumented_errors(self.document, operation, status, body):
            raise ContractError(f"{where}: no error of the operation: {', '.join(foreign)}; body {body[:300]!r}")
        return operation

    def judge_refusal(self, where: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """For what no operation gave. Raises ContractError unless it is a problem with what every answer has."""
        _judge_common_headers(where, headers)
        self._judge_body(where, "", {PROBLEM: {}}, "", status, headers, body)
        self._validate(where, "/components/schemas/Problem", _parse(where, body))

    def _judge_framework(self, method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Outside the documented operations only two answers exist: 404 not_found and 405 with a complete Allow."""
        where = f"{method} {path} (not in the contract) -> {status}"
        allowed = self.allowed(path)
        if status != (405 if allowed else 404):
            raise ContractError(f"{where}: expected {405 if allowed else 404}; body {body[:300]!r}")
        if allowed and {part.strip() for part in headers.get("allow", "").split(",")} != allowed:
            raise ContractError(f"{where}: Allow is {headers.get('allow')!r}, the contract has {sorted(allowed)}")
        if method != "HEAD":
            self._judge_body(where, "", {PROBLEM: {}}, method, status, headers, body)
            self._validate(where, "/components/schemas/Problem", _parse(where, body))

    def _judge_headers(self, where: str, at: str, documented: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        for name in documented:
            pointer, header = self.document.follow(f"{at}/headers/{escape(name)}")
            value = headers.get(name.lower())
            if value is None:
                if header.get("required"):
                    raise ContractError(f"{where}: header {name} is missing")
            elif "schema" in header:
                schema = self.document.follow(f"{pointer}/schema")[1]
                typed = int(value) if schema.get("type") == "integer" and value.isdigit() else value
                self._validate(f"{where}, header {name}", f"{pointer}/schema", typed)

    def _judge_body(
        self,
        where: str,
        at: str,
        content: Mapping[str, Any] | None,
        method: str,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        if method == "HEAD" or not content:
            if body:
                raise ContractError(f"{where}: a body where none is documented: {body[:300]!r}")
            return
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in {name.partition(";")[0].lower() for name in content}:
            raise ContractError(f"{where}: content type {media_type!r}, documented: {', '.join(content)}")
        if media_type in (PROBLEM, "application/json"):
            name = next(name for name in content if name.partition(";")[0].lower() == media_type)
            value = _parse(where, body)
            if "schema" in content[name]:
                self._validate(where, f"{at}/content/{escape(name)}/schema", value)
            if media_type == PROBLEM:
                _judge_problem(where, value, status, headers)

    def _validate(self, where: str, pointer: str, value: Any) -> None:
        if pointer not in self._validators:
            self._validators[pointer] = jsonschema_rs.Draft202012Validator(
                {"$ref": f"nexmdm:openapi#{quote(pointer)}"}, registry=self._registry, validate_formats=True
            )
        errors = [
            f"{'/'.join(str(part) for part in error.instance_path) or 'body'}: {error.message}"
            for error in self._validators[pointer].iter_errors(value)
        ]
        if errors:
            raise ContractError(f"{where}: not as the contract says\n  " + "\n  ".join(errors[:5]))


def _judge_common_headers(where: str, headers: Mapping[str, str], may_have: AbstractSet[str] = frozenset()) -> None:
    """What every answer has, and what none has: whichever layer gave it."""
    for name, wanted in _ALWAYS.items():
        if not re.search(wanted, headers.get(name, "")):
            raise ContractError(f"{where}: header {name} is {headers.get(name)!r}, expected {wanted}")
    for name in headers:
        if _NEVER.fullmatch(name) and name not in may_have:
            raise ContractError(f"{where}: header {name} is {headers[name]!r}, expected none")


def _judge_problem(where: str, problem: Any, status: int, headers: Mapping[str, str]) -> None:
    told = {"status": status, "request_id": headers["x-request-id"], "type": f"/problems/{problem.get('code')}"}
    for member, expected in told.items():
        if problem.get(member) != expected:
            raise ContractError(f"{where}: problem {member} is {problem.get(member)!r}, expected {expected!r}")


def _parse(where: str, body: bytes) -> Any:
    def refuse(constant: str) -> Any:
        raise ContractError(f"{where}: {constant} is not JSON")

    try:
        return json.loads(body, parse_constant=refuse)
    except ValueError as error:
        raise ContractError(f"{where}: the body is not JSON: {error}; {body[:300]!r}") from error
