"""Refusals as problem details (RFC 9457): one exception, and the types that the kernel itself raises.

Each package defines its own types in its `problems` module; `openapi.yaml` documents them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import ModuleType
from typing import Any, Final, NamedTuple, TypedDict

import orjson
from starlette.responses import Response


class ProblemType(NamedTuple):
    """One kind of refusal: a machine-readable code, its status, a title (RFC 9457)."""

    code: str
    status: int
    title: str


VALIDATION_ERROR: Final = ProblemType("validation_error", 422, "The request is not valid")
RATE_LIMITED: Final = ProblemType("rate_limited", 429, "Too many requests")
INTERNAL_ERROR: Final = ProblemType("internal_error", 500, "The server failed")
DEPENDENCY_UNAVAILABLE: Final = ProblemType("dependency_unavailable", 503, "A dependency is unavailable")
OVERLOADED: Final = ProblemType("overloaded", 503, "Server overloaded")


RETRY_AFTER_S: Final = 2  # what a 503 asks a caller to wait: about the time a database takes to restart


def declared(module: ModuleType) -> tuple[ProblemType, ...]:
    """The problem types that a `problems` module defines or imports."""
    return tuple(value for value in vars(module).values() if isinstance(value, ProblemType))


class FieldError(TypedDict):
    """One fault: `pointer` such as `/body/alias`, a stable `code`, a `message` that never quotes what was sent."""

    pointer: str
    code: str
    message: str


class Problem(Exception):
    """A refusal. `extra` members stand beside the standard ones in the answer."""

    def __init__(
        self,
        kind: ProblemType,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldError] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(kind.code)
        self.kind = kind
        self.code, self.status, self.title = kind
        self.detail = detail or f"{self.title}."
        self.headers = dict(headers or {})
        self.errors = errors
        self.extra = extra or {}
        if self.status == HTTPStatus.UNAUTHORIZED:
            self.headers.setdefault("WWW-Authenticate", "Bearer")  # RFC 6750 section 3
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_S))

    def response(self, request_id: str) -> Response:
        """The application/problem+json answer."""
        body: dict[str, Any] = {
            "type": f"/problems/{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
            **self.extra,
        }
        if self.errors is not None:
            body["errors"] = list(self.errors)
        return Response(orjson.dumps(body), self.status, self.headers, "application/problem+json")


def invalid(pointer: str, code: str, message: str) -> Problem:
    """A 422 for one fault that no schema can see, such as a cursor that does not decode."""
    return Problem(VALIDATION_ERROR, errors=[{"pointer": pointer, "code": code, "message": message}])


def answers(*kinds: ProblemType) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that can refuse with these problems, as `nexmdm routes` prints it."""
    documented: dict[int | str, dict[str, Any]] = {}
    for _, status, title in kinds:
        documented.setdefault(status, {"description": title, "content": {"application/problem+json": {}}})
    return documented
