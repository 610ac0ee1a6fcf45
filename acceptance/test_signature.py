"""The HMAC signature of POST /admin/command: bound to the body and to the time."""

import json
import time
from typing import Any

import pytest

from acceptance.answers import accepted, refused
from acceptance.api import Api
from acceptance.case import case
from acceptance.logs import Logs
from acceptance.measures import Metrics
from acceptance.system import NewDevice, Unchanged
from harness.fcm import FcmControl


@case("command/006", "sendCommand 403")
@pytest.mark.parametrize(
    "forge,code",
    [
        pytest.param({"without": "x-signature"}, "signature_missing", id="no signature"),
        pytest.param({"without": "x-timestamp"}, "signature_missing", id="no timestamp"),
        pytest.param({"signature": "sha256=" + "0" * 64}, "signature_invalid", id="another signature"),
        pytest.param({"signature": "{bare}"}, "signature_invalid", id="no sha256= prefix"),
        pytest.param({"sign": b'{"action": "ping"}'}, "signature_invalid", id="another body's signature"),
        pytest.param({"sign_at": -1}, "signature_invalid", id="another timestamp's signature"),
        pytest.param({"timestamp": "soon"}, "signature_invalid", id="a timestamp that is no number"),
        pytest.param({"age": 400}, "signature_expired", id="an old timestamp"),
        pytest.param({"age": -400}, "signature_expired", id="a timestamp of the future"),
    ],
)
def test_a_command_without_a_good_signature_is_refused(
    forge: dict[str, Any],
    code: str,
    api: Api,
    device: NewDevice,
    logs: Logs,
    metrics: Metrics,
    unchanged: Unchanged,
    fcm: FcmControl,
) -> None:
    """A missing, forged, re-used or stale HMAC signature is a 403 and queues nothing (000 A: 403; 001: HMAC)."""
    one = device()
    raw = json.dumps({"device_id": one.device_id, "action": "ping"}).encode()
    stamp = forge.get("timestamp", int(time.time()) - forge.get("age", 0))
    signed_at = stamp + forge["sign_at"] if "sign_at" in forge else stamp
    good = api.sign(signed_at, forge.get("sign", raw))
    signature = forge.get("signature", good).format(bare=good.removeprefix("sha256="))
    with unchanged(), metrics.moves({f'nexmdm_auth_failures_total{{code="{code}"}}': 1}):
        headers = {"Content-Type": "application/json", "X-Timestamp": str(stamp), "X-Signature": signature}
        answer = api.admin(
            "POST",
            "/admin/command",
            content=raw,
            headers={name: value for name, value in headers.items() if name.lower() != forge.get("without")},
        )
    refused(answer, 403, code)
    logs.expect(answer, "sec.auth.fail", code=code)
    assert fcm.inbox(one.fcm_token) == []


@case("command/007", "sendCommand 200")
@pytest.mark.parametrize("age_s", [-280, 280])
def test_a_signature_is_good_for_five_minutes(age_s: int, api: Api, device: NewDevice, logs: Logs) -> None:
    """A timestamp may be up to 300 s away from the server's clock, either way (api.md: window)."""
    one = device()
    answer = api.command({"device_id": one.device_id, "action": "ping"}, timestamp=int(time.time()) - age_s)
    accepted(answer)
    logs.expect(answer, "dispatch.request", device_id=one.device_id)


@case("command/010", "sendCommand 403")
@pytest.mark.parametrize("part", ["body", "timestamp"])
def test_a_signature_that_was_good_signs_nothing_else(
    part: str, api: Api, device: NewDevice, logs: Logs, unchanged: Unchanged, fcm: FcmControl
) -> None:
    """A captured signature is refused with another body and with another timestamp (001: HMAC; harness.md)."""
    one, other, stamp = device(), device(), int(time.time())
    raw = json.dumps({"device_id": one.device_id, "action": "ping"}).encode()
    accepted(api.command(raw=raw, timestamp=stamp))
    captured = api.sign(stamp, raw)
    if part == "body":
        raw = raw.replace(one.device_id.encode(), other.device_id.encode())
    with unchanged():
        answer = api.command(raw=raw, timestamp=stamp + (part == "timestamp"), signature=captured)
    refused(answer, 403, "signature_invalid")
    logs.expect(answer, "sec.auth.fail", code="signature_invalid")
    assert fcm.inbox(other.fcm_token) == []
