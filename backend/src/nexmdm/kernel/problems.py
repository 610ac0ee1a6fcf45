"""The whole error story: one exception, one table of codes, one answer (RFC 9457). It knows no noun and no database.

Every refusal in the backend is `raise Problem("code", ...)`; the table gives its status and title, `openapi.yaml`
documents it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, TypedDict

import orjson
from starlette.responses import Response

CODES: Final[Mapping[str, tuple[int, str]]] = {
    "malformed_json": (400, "The body is not JSON"),
    "malformed_request": (400, "The request is not clear HTTP/1.1"),
    "token_missing": (401, "A bearer token is required"),
    "token_invalid": (401, "The bearer token is not valid"),
    "token_expired": (401, "The enrolment token has expired"),
    "token_revoked": (401, "The enrolment token was revoked"),
    "token_exhausted": (401, "The enrolment token has no uses left"),
    "admin_required": (403, "The admin key is missing or wrong"),
    "signature_missing": (403, "The request is not signed"),
    "signature_invalid": (403, "The signature does not match"),
    "signature_expired": (403, "The signature is outside its window"),
    "insufficient_scope": (403, "The token's scope does not cover this"),
    "not_found": (404, "There is no such resource"),
    "device_not_found": (404, "There is no such device"),
    "token_not_found": (404, "There is no such enrolment token"),
    "dispatch_not_found": (404, "There is no such dispatch"),
    "no_build": (404, "No build has been uploaded"),
    "method_not_allowed": (405, "The method is not allowed here"),
    "request_timeout": (408, "The request took too long to arrive"),
    "alias_mismatch": (409, "The alias is not the token's"),
    "device_retired": (409, "The device is retired"),
    "request_id_conflict": (409, "The request id was used for another command"),
    "token_not_active": (409, "The enrolment token is not active"),
    "build_exists": (409, "The build exists already"),
    "precondition_failed": (412, "Precondition failed"),
    "payload_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The media type is not supported"),
    "range_not_satisfiable": (416, "The range lies outside the build"),
    "validation_error": (422, "The request is not valid"),
    "checksum_mismatch": (422, "The body does not have the given checksum"),
    "not_an_apk": (422, "The body is not an APK"),
    "rate_limited": (429, "Too many requests"),
    "head_too_large": (431, "The head of the request is too large"),
    "internal_error": (500, "The server failed"),
    "dependency_unavailable": (503, "A dependency is unavailable"),
    "overloaded": (503, "The server has too much to do"),
    "migrations_pending": (503, "The database schema is not at the expected revision"),
}

# What several operations have in common, for `answers`.
OF_A_BODY: Final = ("malformed_json", "payload_too_large", "unsupported_media_type", "validation_error")
OF_A_TOKEN: Final = ("token_invalid", "rate_limited", "dependency_unavailable")
OF_AN_ADMIN: Final = ("admin_required", "rate_limited", "dependency_unavailable")

RETRY_AFTER_S: Final = 2  # what a 503 asks a caller to wait: about the time a database takes to restart


class FieldError(TypedDict):
    """One fault: `pointer` such as `/body/alias`, a stable `code`, a `message` that never quotes what was sent."""

    pointer: str
    code: str
    message: str


class Problem(Exception):
    """A refusal. `extra` members stand beside the standard ones in the answer."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldError] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.status, self.title = CODES[code]
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
    return Problem("validation_error", errors=[{"pointer": pointer, "code": code, "message": message}])


def answers(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route that can refuse with these codes, for the description that `nexmdm routes` prints."""
    documented: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        status, title = CODES[code]
        documented.setdefault(status, {"description": title, "content": {"application/problem+json": {}}})
    return documented
