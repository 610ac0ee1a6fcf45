"""What the coverage gate counts: the answers that the contract documents of an operation, and which of them one is.

An answer is its HTTP status. A call of JSON-RPC (`x-rpc-errors`) has its errors with 200: there it is `result`, or the
`data.code` of the error.
"""

from __future__ import annotations

import json
from typing import Any, Final

from harness.http.openapi import Document, Json, Operation

RESULT: Final = "result"
# 200, and no answer of JSON-RPC.
UNREADABLE: Final = "unreadable"
_NAMES_METHODS: Final = "method_not_found"


def documented(document: Document, operation: Operation) -> dict[str, str]:
    """Every documented answer, with the reason why no case can provoke it, which is mostly empty."""
    found: dict[str, str] = {}
    for status, response in document.responses(operation).items():
        found[RESULT if _is_call(operation, status) else status] = _no_case(response)
    return found | {error["data_code"]: _no_case(error) for error in operation.rpc_errors}


def outcomes(operation: Operation, status: int, body: bytes) -> list[str]:
    """Which answers it is, each once; a batch may have several. An error comes before a result."""
    if not _is_call(operation, str(status)):
        return [str(status)]
    found = [RESULT if error is None else error[1] for error in _errors(body)]
    return sorted(dict.fromkeys(found), key=lambda outcome: outcome == RESULT)


def undocumented_errors(document: Document, operation: Operation, status: int, body: bytes) -> list[str]:
    """The errors of a call that its operation does not list; one that calls by name may have those of every method."""
    if not _is_call(operation, str(status)):
        return []
    listed = list(operation.rpc_errors)
    if any(error["data_code"] == _NAMES_METHODS for error in listed):
        listed = [error for each in document.operations() for error in each.rpc_errors]
    known = {(error["code"], error["data_code"]) for error in listed}
    return [f"{error[0]} {error[1]}" for error in _errors(body) if error is not None and error not in known]


def _errors(body: bytes) -> list[tuple[Any, str] | None]:
    """Of each call that is answered, its error; None for a result."""
    try:
        told = json.loads(body)
        return [_error(one) for one in (told if isinstance(told, list) else [told])]
    except (ValueError, KeyError, TypeError):
        return [(None, UNREADABLE)]


def _error(answer: Json) -> tuple[Any, str] | None:
    if RESULT in answer:
        return None
    error = answer["error"]
    return error["code"], str(error["data"]["code"])


def _is_call(operation: Operation, status: str) -> bool:
    return status == "200" and bool(operation.rpc_errors)


def _no_case(node: Json) -> str:
    return str(node.get("x-no-case", ""))
