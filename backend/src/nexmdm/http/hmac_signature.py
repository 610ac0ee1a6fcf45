"""Signed requests: HMAC-SHA256 over `timestamp + "." + raw body`, within a window. It parses no body.

A signature may come again within its window. What makes the second harmless is the replay key: whoever acts on a signed
request does it once per key.
"""

from __future__ import annotations

import hmac
import re
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Final

from fastapi import Depends, Request

from nexmdm.http.credentials import refusal
from nexmdm.http.json_body import read_limited
from nexmdm.http.problems import SIGNATURE_EXPIRED, SIGNATURE_INVALID, SIGNATURE_MISSING
from nexmdm.http.runtime import runtime

WINDOW_S: Final = 300


@dataclass(frozen=True, slots=True)
class Signed:
    """A request whose signature is right. `replay_key` is the same whenever the same signed bytes come again."""

    raw: bytes
    replay_key: str


async def _signed(request: Request) -> Signed:
    given = request.headers.getlist("x-signature")
    stamps = request.headers.getlist("x-timestamp")
    if not given or not stamps:
        raise await refusal(request, SIGNATURE_MISSING)
    raw = await read_limited(request)
    secret: str = runtime(request).settings.hmac_secret.get_secret_value()
    expected = hmac.new(secret.encode(), stamps[0].encode("latin-1") + b"." + raw, sha256).hexdigest()
    right = hmac.compare_digest(given[0].encode(), f"sha256={expected}".encode())
    if not right or len(given) > 1 or len(stamps) > 1 or not re.fullmatch("[0-9]{1,12}", stamps[0], re.ASCII):
        raise await refusal(request, SIGNATURE_INVALID)
    if abs(time.time() - int(stamps[0])) > WINDOW_S:
        raise await refusal(request, SIGNATURE_EXPIRED)
    return Signed(raw, "cmd_" + sha256(expected.encode()).hexdigest()[:32])


def _header(name: str, pattern: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "schema": {"type": "string", "pattern": pattern}}


SIGNATURE_HEADERS: Final = [
    _header("X-Timestamp", "^[0-9]{1,12}$"),
    _header("X-Signature", "^sha256=[0-9a-f]{64}$"),
]
SignedRequest = Annotated[Signed, Depends(_signed)]
