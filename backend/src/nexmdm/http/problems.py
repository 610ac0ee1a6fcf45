"""The problem types of HTTP itself and of credentials, and those that several operations share."""

from typing import Final

from nexmdm.kernel.problems import DEPENDENCY_UNAVAILABLE, RATE_LIMITED, VALIDATION_ERROR, ProblemType

MALFORMED_JSON: Final = ProblemType("malformed_json", 400, "The body is not JSON")
MALFORMED_REQUEST: Final = ProblemType("malformed_request", 400, "Malformed HTTP request")
TOKEN_MISSING: Final = ProblemType("token_missing", 401, "A bearer token is required")
TOKEN_INVALID: Final = ProblemType("token_invalid", 401, "The bearer token is not valid")
ADMIN_REQUIRED: Final = ProblemType("admin_required", 403, "The credentials of an admin are missing or wrong")
SIGNATURE_MISSING: Final = ProblemType("signature_missing", 403, "The request is not signed")
SIGNATURE_INVALID: Final = ProblemType("signature_invalid", 403, "The signature does not match")
SIGNATURE_EXPIRED: Final = ProblemType("signature_expired", 403, "The signature is outside its window")
INSUFFICIENT_SCOPE: Final = ProblemType("insufficient_scope", 403, "The token's scope does not cover this")
NOT_FOUND: Final = ProblemType("not_found", 404, "There is no such resource")
METHOD_NOT_ALLOWED: Final = ProblemType("method_not_allowed", 405, "The method is not allowed here")
PRECONDITION_FAILED: Final = ProblemType("precondition_failed", 412, "Precondition failed")
PAYLOAD_TOO_LARGE: Final = ProblemType("payload_too_large", 413, "The body is too large")
UNSUPPORTED_MEDIA_TYPE: Final = ProblemType("unsupported_media_type", 415, "The media type is not supported")
SERVICE_UNAVAILABLE: Final = ProblemType("service_unavailable", 503, "Service unavailable")

# What several operations have in common, for `answers`.
OF_A_BODY: Final = (MALFORMED_JSON, PAYLOAD_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, VALIDATION_ERROR)
OF_A_TOKEN: Final = (TOKEN_INVALID, RATE_LIMITED, DEPENDENCY_UNAVAILABLE)
OF_AN_ADMIN: Final = (ADMIN_REQUIRED, RATE_LIMITED, DEPENDENCY_UNAVAILABLE)
