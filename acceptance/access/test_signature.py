"""The HMAC signature of POST /admin/command: bound to the body and to the time."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.metrics import Metrics
from acceptance.system.system import NewDevice, System, Unchanged, new_alias
from harness.fcm.server import FcmControl
from harness.waiting import eventually


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


SPELLINGS: dict[str, Callable[[str], str]] = {
    "upper-case digits": lambda good: "sha256=" + good.removeprefix("sha256=").upper(),
    "an upper-case prefix": lambda good: good.replace("sha256", "SHA256"),
    "another prefix": lambda good: good.replace("sha256", "sha512"),
    "a prefix twice": lambda good: f"sha256={good}",
    "a space inside": lambda good: good.replace("=", "= "),
    "a list": lambda good: f"{good},{good}",
    "a parameter": lambda good: f"{good};v=1",
    "quotes": lambda good: f'"{good}"',
    "cut short": lambda good: good[:-2],
    "digits more": lambda good: good + "00",
}


@case("command/011", "sendCommand 403")
@pytest.mark.parametrize("name", SPELLINGS)
def test_a_signature_has_one_spelling(name: str, api: Api, device: NewDevice, logs: Logs, unchanged: Unchanged) -> None:
    """The right digest in any other spelling is a 403 and queues nothing (security.md)."""
    raw, stamp = json.dumps({"device_id": device().device_id, "action": "ping"}).encode(), int(time.time())
    with unchanged():
        answer = api.command(raw=raw, timestamp=stamp, signature=SPELLINGS[name](api.sign(stamp, raw)))
    refused(answer, 403, "signature_invalid")
    logs.expect(answer, "sec.auth.fail", code="signature_invalid")


@case("command/012", "sendCommand 403", "sendCommand 400")
@pytest.mark.parametrize(
    "encode",
    [
        pytest.param(lambda raw: raw.replace(b": ", b":"), id="without spaces"),
        pytest.param(lambda raw: raw + b"\n", id="a line feed behind"),
        pytest.param(lambda raw: raw.replace(b"ping", b"\\u0070ing"), id="an escape"),
        pytest.param(lambda raw: b"\xef\xbb\xbf" + raw, id="a byte order mark"),
        pytest.param(lambda raw: raw.decode().encode("utf-16"), id="UTF-16"),
        pytest.param(lambda raw: raw.decode().encode("utf-32"), id="UTF-32"),
        pytest.param(lambda raw: json.dumps(dict(reversed(json.loads(raw).items()))).encode(), id="another order"),
        pytest.param(lambda raw: raw.replace(b"{", b'{"action": "launch_app", ', 1), id="a member twice"),
    ],
)
def test_a_signature_is_of_bytes_not_of_json(
    encode: Callable[[bytes], bytes], api: Api, device: NewDevice, logs: Logs, unchanged: Unchanged, fcm: FcmControl
) -> None:
    """The same JSON in other bytes is not signed; and what is not UTF-8 is no JSON, signed or not (security.md)."""
    one, stamp = device(), int(time.time())
    raw = json.dumps({"device_id": one.device_id, "action": "ping"}).encode()
    other, good = encode(raw), api.sign(stamp, raw)
    with unchanged():
        answer = api.command(raw=other, timestamp=stamp, signature=good)
    refused(answer, 403, "signature_invalid")
    logs.expect(answer, "sec.auth.fail", code="signature_invalid")
    if not other.startswith(b"{"):
        with unchanged():
            signed = api.command(raw=other, timestamp=stamp)
        refused(signed, 400, "malformed_json")
    assert fcm.inbox(one.fcm_token) == []


@case("command/013", "sendCommand 200")
def test_captured_commands_do_nothing_in_any_order(
    api: Api, device: NewDevice, logs: Logs, db: Database, fcm: FcmControl, system: System
) -> None:
    """Captured requests sent again, in any order, are told that they are repeats and send nothing (001)."""
    one, stamp = device(), int(time.time())
    captured = [
        json.dumps({"device_id": one.device_id, "action": "ping", **more}).encode()
        for more in ({}, {"request_id": new_alias()}, {"request_id": new_alias()})
    ]
    first = [accepted(api.command(raw=raw, timestamp=stamp)) for raw in captured]
    eventually(system.settled, 10.0)
    sent = len(fcm.inbox(one.fcm_token))
    before = db.value("select count(*) from fcm_dispatches")
    for at in (2, 0, 1, 1, 2, 0):
        again = api.command(raw=captured[at], timestamp=stamp)
        assert accepted(again) == first[at]
        assert again.headers["idempotent-replay"] == "true"
        logs.expect(again, "dispatch.idempotency_hit")
    eventually(system.settled, 10.0)
    assert sent == 3
    assert len(fcm.inbox(one.fcm_token)) == sent
    assert db.value("select count(*) from fcm_dispatches") == before
