"""What Google's FCM HTTP v1 API answers when it refuses: statuses, error codes and bodies, as data.

Source: the FCM reference "ErrorCode" and google.rpc.Status. It holds no server: `harness.fcm.app` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.fakes.scripts import FIELDS, Answer, common

FCM_ERROR_TYPE = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST_TYPE = "type.googleapis.com/google.rpc.BadRequest"

# error_code -> HTTP status, google.rpc status, message
REFUSALS: dict[str, tuple[int, str, str]] = {
    "UNREGISTERED": (404, "NOT_FOUND", "Requested entity was not found."),
    "SENDER_ID_MISMATCH": (403, "PERMISSION_DENIED", "SenderId mismatch"),
    "QUOTA_EXCEEDED": (429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Send requests'."),
    "INVALID_ARGUMENT": (400, "INVALID_ARGUMENT", "The registration token is not a valid FCM registration token"),
    "THIRD_PARTY_AUTH_ERROR": (401, "UNAUTHENTICATED", "Auth error from APNS or Web Push Service"),
    "UNAVAILABLE": (503, "UNAVAILABLE", "The service is currently unavailable."),
    "INTERNAL": (500, "INTERNAL", "Internal error encountered."),
}
_CODE_OF_STATUS = {status: code for code, (status, _, _) in REFUSALS.items()}
SEND_FIELDS = FIELDS | {"error_code"}
TOKEN_FIELDS = FIELDS | {"life_s"}


@dataclass
class Scripted(Answer):
    """One scripted answer of FCM, or of who grants its access tokens."""

    error_code: str | None = None
    life_s: int | None = None

    @classmethod
    def parse(cls, answer: Any, fields: frozenset[str] = SEND_FIELDS) -> Scripted:
        """Check one entry of a script. ValueError names what is wrong with it: a typo must not pass as success."""
        code = answer.get("error_code") if isinstance(answer, dict) else None
        if code is not None and code not in REFUSALS:
            raise ValueError(f"error_code: one of {sorted(REFUSALS)}, not {code!r}")
        values = common(answer, fields, REFUSALS[code][0] if code else 200)
        status = values["status"]
        if values["body"] is None and status not in (0, 200, *_CODE_OF_STATUS):
            raise ValueError(f"status: one of {sorted({200, *_CODE_OF_STATUS})}, or any with a body, not {status!r}")
        return cls(**values, error_code=code or _CODE_OF_STATUS.get(status), life_s=answer.get("life_s"))


def refusal(error_code: str, *, violation: tuple[str, str] | None = None) -> dict[str, Any]:
    """The error body for an FCM error code; violation: (field, description) for INVALID_ARGUMENT."""
    status, rpc_status, message = REFUSALS[error_code]
    details: list[dict[str, Any]] = [{"@type": FCM_ERROR_TYPE, "errorCode": error_code}]
    if violation is not None:
        field, message = violation
        details.append({"@type": BAD_REQUEST_TYPE, "fieldViolations": [{"field": field, "description": message}]})
    return {"error": {"code": status, "message": message, "status": rpc_status, "details": details}}


def bad_credentials() -> dict[str, Any]:
    """The body for a request whose bearer token is missing, unknown or expired: no FcmError among the details."""
    message = (
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
        "authentication credential."
    )
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "ACCESS_TOKEN_TYPE_UNSUPPORTED",
        "domain": "googleapis.com",
    }
    return {"error": {"code": 401, "message": message, "status": "UNAUTHENTICATED", "details": [info]}}


def wrong_project(project: str) -> dict[str, Any]:
    """The body for a send to another project than the service account's."""
    resource = f"//cloudresourcemanager/projects/{project}"
    message = f"Permission 'cloudmessaging.messages.create' denied on resource '{resource}'"
    return {"error": {"code": 403, "message": message, "status": "PERMISSION_DENIED", "details": []}}
