"""The house rules of calls of JSON-RPC: which operations they are, and that each says which errors its answer may hold.

They stand beside house_rules.py, which runs them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from harness.http.openapi import Document, Operation

PREFIX: Final = "/api/nfs"
# What is wrong with a call before its method is asked.
OF_EVERY_CALL: Final = ("parse_error", "invalid_request", "invalid_params")
# It can stand for any call, as 500 for any request.
EVERYWHERE: Final = ("internal_error",)
# For a body; what is wrong in it is an error of the call.
STATUSES: Final = frozenset({"200", "204", "413", "415"})
_ENTRY: Final = {"code", "data_code"}
_ANSWERS: Final = ("RpcAnswer", "RpcAnswers")


def of_an_operation(_: Document, operation: Operation) -> Iterator[str]:
    """A call lies below /api/nfs, lists its errors, and answers 200 (both), 204 (no id), never 422."""
    errors = operation.rpc_errors
    if bool(errors) != (operation.path == PREFIX or operation.path.startswith(f"{PREFIX}/")):
        yield f"{operation.id}: x-rpc-errors are of the operations at {PREFIX}, of all of them"
    if not errors:
        return
    for entry in errors:
        if not entry.keys() >= _ENTRY or entry.keys() - _ENTRY - {"x-no-case"}:
            yield f"{operation.id} x-rpc-errors: {entry} is not code, data_code and perhaps x-no-case"
    codes = [entry.get("data_code") for entry in errors]
    for code in sorted({str(code) for code in codes if codes.count(code) > 1}):
        yield f"{operation.id} x-rpc-errors: {code} stands there twice"
    for code in OF_EVERY_CALL:
        if code not in codes:
            yield f"{operation.id} x-rpc-errors: no {code}"
    if "422" in operation.statuses:
        yield f"{operation.id}: 422, and invalid_params"
    content = operation.definition["responses"].get("200", {}).get("content", {}).get("application/json", {})
    if content.get("schema", {}).get("$ref", "").rpartition("/")[2] not in _ANSWERS:
        yield f"{operation.id} 200: not an answer of JSON-RPC ({' or '.join(_ANSWERS)})"


def of_the_whole(document: Document) -> Iterator[str]:
    """The table in info.description, the enums, and the operations' lists are the same codes."""
    text = document.content["info"].get("description", "")
    table = {(int(code), name) for code, name in re.findall(r"^\| (-\d{5}) \| `(\w+)` \|", text, re.MULTILINE)}
    listed = {_pair(entry) for operation in document.operations() for entry in operation.rpc_errors}
    for code, name in sorted(listed ^ {row for row in table if row[1] not in EVERYWHERE}):
        yield f"JSON-RPC error {code} {name}: not in both the table and x-rpc-errors"
    enums = (
        (set(document.at("#/components/schemas/RpcDataCode")["enum"]), {name for _, name in table}),
        (set(document.at("#/components/schemas/RpcError")["properties"]["code"]["enum"]), {code for code, _ in table}),
    )
    for enum, column in enums:
        for value in sorted(map(str, enum ^ column)):
            yield f"JSON-RPC error {value}: not in both the enum and the table"


def _pair(entry: dict[str, Any]) -> tuple[int, str]:
    return int(entry.get("code", 0)), str(entry.get("data_code"))
