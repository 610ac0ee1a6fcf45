"""The drift gate: openapi.yaml against the code's routes and against the served document. It sends no test traffic.

The code's side is `$NEXMDM_BACKEND_COMMAND routes`, the OpenAPI document that FastAPI makes of the implemented routes.
Compared in both directions: operations, operationIds, parameters (place, required, schema), request bodies (required,
media types, schemas) and declared statuses. Answers' schemas are not compared: the fuzzer checks real answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any, Final

from contracts.drift.schema_diff import differences, normal
from harness.http.client import Client, TransportError
from harness.http.openapi import OPENAPI, Document, Operation
from harness.http.transport import HttpxTransport
from harness.settings import Target

ROUTES_TIMEOUT_S: Final = 60


class NothingToCompare(Exception):
    """The other side could not be had. One line."""


def code_document(command: str) -> Document:
    """What the implemented routes say of themselves."""
    # The command prints and exits; it needs no database, but its settings must be complete.
    try:
        done = subprocess.run(
            [*shlex.split(command), "routes"],
            env=dict(os.environ),
            capture_output=True,
            text=True,
            timeout=ROUTES_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise NothingToCompare(f"`{command} routes` exited with {done.returncode}: {done.stderr.strip()[-300:]}")
        return Document(json.loads(done.stdout))
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise NothingToCompare(f"`{command} routes`: {error}") from None


def drift(spec: Document, code: Document) -> list[str]:
    """Every difference, one line each, named by the spec's operationId where there is one."""
    ours = {operation.label: operation for operation in spec.operations()}
    theirs = {operation.label: operation for operation in code.operations()}
    found = [f"{label}: only in the spec" for label in ours if label not in theirs]
    found += [f"{label}: only in the code" for label in theirs if label not in ours]
    for label, operation in ours.items():
        if label in theirs:
            found += _operation_drift(spec, operation, code, theirs[label])
    return found


def _operation_drift(spec: Document, ours: Operation, code: Document, theirs: Operation) -> Iterator[str]:
    if ours.id != theirs.id:
        yield f"{ours.label} operationId: spec {ours.id}, code {theirs.id}"
    for status in sorted(ours.statuses ^ theirs.statuses):
        yield f"{ours.id} status {status}: only in the {'spec' if status in ours.statuses else 'code'}"
    yield from _parameter_drift(spec, ours, code, theirs)
    yield from _body_drift(spec, ours, code, theirs)


def _parameter_drift(spec: Document, ours: Operation, code: Document, theirs: Operation) -> Iterator[str]:
    left, right = _parameters(ours), _parameters(theirs)
    for place in sorted({*left, *right}):
        name = f"{ours.id} parameter {place[1]} in {place[0]}"
        if place not in right:
            yield f"{name}: only in the spec"
        elif place not in left:
            yield f"{name}: only in the code"
        else:
            required = bool(left[place].get("required")), bool(right[place].get("required"))
            if required[0] != required[1]:
                yield f"{name} required: spec {required[0]}, code {required[1]}"
            shapes = (
                normal(left[place].get("schema", {}), spec, on_the_wire=True),
                normal(right[place].get("schema", {}), code, on_the_wire=True),
            )
            yield from differences(*shapes, name)


def _parameters(operation: Operation) -> dict[tuple[str, str], dict[str, Any]]:
    # Header names are the same in any case; the other places are exact.
    return {(p["in"], p["name"].lower() if p["in"] == "header" else p["name"]): p for p in operation.parameters}


def _body_drift(spec: Document, ours: Operation, code: Document, theirs: Operation) -> Iterator[str]:
    left = spec.resolve(ours.definition.get("requestBody", {}))
    right = code.resolve(theirs.definition.get("requestBody", {}))
    required = bool(left.get("required")), bool(right.get("required"))
    if required[0] != required[1]:
        yield f"{ours.id} body required: spec {required[0]}, code {required[1]}"
    contents = left.get("content", {}), right.get("content", {})
    for media_type in sorted({*contents[0], *contents[1]}):
        if media_type not in contents[1]:
            yield f"{ours.id} body {media_type}: only in the spec"
        elif media_type not in contents[0]:
            yield f"{ours.id} body {media_type}: only in the code"
        else:
            shapes = (
                normal(contents[0][media_type].get("schema", {}), spec),
                normal(contents[1][media_type].get("schema", {}), code),
            )
            yield from differences(*shapes, f"{ours.id} body")


def served_drift(target: Target) -> list[str]:
    """Where the document that the service serves is not this file. NothingToCompare: it cannot be reached."""
    try:
        with contextlib.closing(HttpxTransport(target.base_url)) as transport:
            client = Client(transport)
            as_yaml, as_json = client.request("GET", "/openapi.yaml"), client.request("GET", "/openapi.json")
    except TransportError as error:
        raise NothingToCompare(f"{target.base_url}: {error}") from None
    found = []
    if as_yaml.status != 200 or as_yaml.body != OPENAPI.read_bytes():
        found.append(f"GET /openapi.yaml: status {as_yaml.status}, not this file byte for byte")
    if as_json.status != 200 or as_json.json() != Document.read().content:
        found.append(f"GET /openapi.json: status {as_json.status}, not the content of this file")
    return found
