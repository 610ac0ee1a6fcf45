"""What an answer to one send means: TABLE is every documented error with its verdict; all else is tried again.

Sources: FCM's reference "ErrorCode" (the code in the details of its error document) and google.rpc.Code (the status of
a Google API error without such details). An answer counts as FCM's only in a form and with a status that is documented:
a proxy's own 403 or 404 must neither end a command nor cost a device its token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

import orjson

FCM_ERROR: Final = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
NOT_FROM_FCM: Final = "NOT_FROM_FCM"  # our own code, beside FCM's

_CODE: Final = re.compile(r"[A-Z_]{3,40}")
_MOST_TEXT: Final = 300


class Verdict(StrEnum):
    """What becomes of the message."""

    SENT = "sent"  # FCM has it
    RETRY = "retry"
    FINAL = "final"  # no retry mends it
    TOKEN_DEAD = "token dead"  # noqa: S105 - the app is gone from the device, and its token will never work again


Kind = Literal["fcm", "google"]  # an error document with FCM's details, a Google API error without them

TABLE: Final[dict[tuple[int, Kind, str], Verdict]] = {
    (400, "fcm", "INVALID_ARGUMENT"): Verdict.FINAL,
    (400, "google", "INVALID_ARGUMENT"): Verdict.FINAL,
    (401, "fcm", "THIRD_PARTY_AUTH_ERROR"): Verdict.FINAL,  # Apple's or the web's key is wrong, not our access token
    (401, "fcm", "APNS_AUTH_ERROR"): Verdict.FINAL,  # its old name
    (401, "google", "UNAUTHENTICATED"): Verdict.RETRY,  # with another access token
    (403, "fcm", "SENDER_ID_MISMATCH"): Verdict.FINAL,
    (403, "google", "PERMISSION_DENIED"): Verdict.FINAL,  # the account lacks a role, or the API is off
    (404, "fcm", "UNREGISTERED"): Verdict.TOKEN_DEAD,
    (404, "google", "NOT_FOUND"): Verdict.FINAL,  # the project
    (429, "fcm", "QUOTA_EXCEEDED"): Verdict.RETRY,
    (429, "google", "RESOURCE_EXHAUSTED"): Verdict.RETRY,
    (500, "fcm", "INTERNAL"): Verdict.RETRY,
    (500, "google", "INTERNAL"): Verdict.RETRY,
    (503, "fcm", "UNAVAILABLE"): Verdict.RETRY,
    (503, "google", "UNAVAILABLE"): Verdict.RETRY,
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """`code` is FCM's error code, Google's status, OK or NOT_FROM_FCM; `text` is the error's message."""

    verdict: Verdict
    code: str
    message_id: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt gave. `fcm_code` is FCM's errorCode, or OK; `http_code` is None where no answer came."""

    verdict: Verdict
    fcm_code: str
    http_code: int | None
    latency_ms: float
    message_id: str | None = None
    error_msg: str | None = None
    retry_after_s: float = 0.0


def judge(status: int, body: bytes) -> Judgement:
    """Judge an answer by its status and the beginning of its body."""
    try:
        document = orjson.loads(body)
    except ValueError:  # HTML, nothing, half of it, not UTF-8, too deep
        return Judgement(Verdict.RETRY, NOT_FROM_FCM, text="not JSON")
    if not isinstance(document, dict):
        return Judgement(Verdict.RETRY, NOT_FROM_FCM, text="not an object")
    name = document.get("name")
    if status == 200 and isinstance(name, str) and name:
        return Judgement(Verdict.SENT, "OK", message_id=_storable(name))
    error = document.get("error")
    if status >= 400 and isinstance(error, dict) and (named := _named(error)) is not None:
        kind, code = named
        message = error.get("message")
        text = _storable(message) if isinstance(message, str) else None
        return Judgement(TABLE.get((status, kind, code), Verdict.RETRY), code, text=text)
    return Judgement(Verdict.RETRY, NOT_FROM_FCM, text="neither a message name nor an error of Google's")


def _named(error: dict[str, Any]) -> tuple[Kind, str] | None:
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and detail.get("@type") == FCM_ERROR and _is_code(detail.get("errorCode")):
            return "fcm", detail["errorCode"]
    return ("google", error["status"]) if _is_code(error.get("status")) else None


def _is_code(value: Any) -> bool:
    return isinstance(value, str) and _CODE.fullmatch(value) is not None


def _storable(text: str) -> str:
    return text.replace("\x00", "")[:_MOST_TEXT]
