"""What Google's FCM HTTP v1 API answers when it refuses: statuses, error codes and bodies, as data.

Source: the FCM reference "ErrorCode" and google.rpc.Status. It holds no server: `harness.fcm_app` does.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

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
_EITHER = {"status", "delay_s", "drop", "times", "body", "content_type", "cut"}
SEND_FIELDS = frozenset(_EITHER | {"error_code", "retry_after"})
TOKEN_FIELDS = frozenset(_EITHER | {"life_s"})


@dataclass
class Scripted:
    """One scripted answer, used `left` more times (None: without end)."""

    status: int = 200
    error_code: str | None = None
    delay_s: float = 0.0
    drop: bool = False
    retry_after: str | None = None
    life_s: int | None = None
    body: bytes | None = None
    content_type: str = "text/html"
    cut: bool = False
    left: int | None = 1

    @classmethod
    def parse(cls, answer: Any, fields: frozenset[str] = SEND_FIELDS) -> Scripted:
        """Check one entry of a script. ValueError names what is wrong with it: a typo must not pass as success."""
        if not isinstance(answer, dict) or set(answer) - fields:
            raise ValueError(f"an answer is an object with some of {sorted(fields)}, not {answer!r}")
        code = answer.get("error_code")
        if code is not None and code not in REFUSALS:
            raise ValueError(f"error_code: one of {sorted(REFUSALS)}, not {code!r}")
        drop = bool(answer.get("drop", False))
        body = _bytes(answer["body"]) if "body" in answer else None
        status = answer.get("status", REFUSALS[code][0] if code else 0 if drop else 200)
        if body is not None:
            known = isinstance(status, int) and 200 <= status <= 599
        else:
            known = status in (0, 200, *_CODE_OF_STATUS)
        if not known:
            raise ValueError(f"status: one of {sorted({200, *_CODE_OF_STATUS})}, or any with a body, not {status!r}")
        times = answer.get("times", 1)
        if not isinstance(times, int) or times < 0:
            raise ValueError(f"times: an integer >= 0, not {times!r}")
        retry_after = answer.get("retry_after")
        return cls(
            status=status,
            error_code=code or _CODE_OF_STATUS.get(status),
            delay_s=float(answer.get("delay_s", 0.0)),
            drop=drop,
            retry_after=retry_after if retry_after is None or isinstance(retry_after, str) else f"{retry_after:g}",
            life_s=answer.get("life_s"),
            body=body,
            content_type=answer.get("content_type", "text/html"),
            cut=bool(answer.get("cut", False)),
            left=times or None,
        )


def _bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, binascii.Error):
        raise ValueError(f"body: bytes, not {text!r}") from None


def take(script: list[Scripted]) -> Scripted | None:
    """The next answer of a script, used up by one; None when the script is at its end."""
    if not script:
        return None
    answer = script[0]
    if answer.left is not None:
        answer.left -= 1
        if answer.left == 0:
            del script[0]
    return answer


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
