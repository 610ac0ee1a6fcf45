"""The HMAC signature of POST /admin/command: bound to the body and to the time."""

import hashlib
import hmac
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
from acceptance.system.system import Enrolled, NewDevice, System, Unchanged, new_alias
from harness.fcm.server import FcmControl
from harness.waiting import eventually


def is_json(raw: bytes) -> bool:
    try:
        json.loads(raw.decode())
    except ValueError:
        return False
    return True


def ping(device: Enrolled) -> bytes:
    return json.dumps({"device_id": device.device_id, "action": "ping"}).encode()


MALFORMED = ["soon", "abc", "1e9", "-1", "+1763632800", "1763632800.5", "0x10", "9" * 400, "\xb2"]


@case("command/006", "sendCommand 403")
@pytest.mark.parametrize(
    "forge,code",
    [
        pytest.param({"without": ["X-Signature"]}, "signature_missing", id="no signature"),
        pytest.param({"without": ["X-Timestamp"]}, "signature_missing", id="no timestamp"),
        pytest.param({"without": ["X-Signature", "X-Timestamp"]}, "signature_missing", id="neither"),
        pytest.param({"sign": b'{"action": "ping"}'}, "signature_invalid", id="another body's signature"),
        *(pytest.param({"sign_at": s}, "signature_invalid", id=f"that of {s:+} s") for s in (-60, -1, 1)),
        *(pytest.param({"timestamp": text}, "signature_invalid", id=f"timestamp {text[:12]}") for text in MALFORMED),
        *(pytest.param({"age": s}, "signature_expired", id=f"{s} s old") for s in (-400, -310, 310, 400, 86_400)),
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
    signature = api.sign(signed_at, forge.get("sign", raw))
    headers = {"Content-Type": "application/json", "X-Timestamp": str(stamp), "X-Signature": signature}
    for name in forge.get("without", ()):
        del headers[name]
    with unchanged(), metrics.moves({f'nexmdm_auth_failures_total{{code="{code}"}}': 1}):
        answer = api.admin("POST", "/admin/command", content=raw, headers=headers)
    refused(answer, 403, code)
    logs.expect(answer, "sec.auth.fail", code=code)
    assert fcm.inbox(one.fcm_token) == []


@case("command/007", "sendCommand 200")
@pytest.mark.parametrize("age_s", [-290, -280, 280, 290])
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
    "one digit less": lambda good: good[:-1],
    "two digits less": lambda good: good[:-2],
    "one digit more": lambda good: good + "0",
    "two digits more": lambda good: good + "00",
    "nothing": lambda _: "",
    "no digits": lambda _: "sha256=",
    "no prefix": lambda good: good.removeprefix("sha256="),
    "the prefix of SHA-1": lambda good: good.replace("sha256", "sha1"),
    "a letter that is no digit": lambda good: good[:-1] + "g",
    "a letter that is none of ASCII": lambda good: good[:-1] + "\xe9",
    "zeros": lambda _: "sha256=" + "0" * 64,
}


@case("command/011", "sendCommand 403")
@pytest.mark.parametrize("name", SPELLINGS)
def test_a_signature_has_one_spelling(
    name: str, api: Api, somebody: Enrolled, logs: Logs, unchanged: Unchanged
) -> None:
    """The right digest in any other spelling is a 403 and queues nothing (security.md)."""
    raw, stamp = ping(somebody), int(time.time())
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
        pytest.param(lambda raw: raw + b" ", id="a space behind"),
        pytest.param(lambda raw: raw[:-1], id="cut short"),
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
    if not is_json(other):
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


@case("signature/005", "sendCommand 403")
@pytest.mark.parametrize("message", ["{stamp}{raw}", "{raw}", "{stamp}\n{raw}", "{raw}.{stamp}"])
def test_timestamp_and_body_are_joined_by_a_dot(
    message: str, api: Api, system: System, somebody: Enrolled, logs: Logs, unchanged: Unchanged
) -> None:
    """A digest over timestamp and body that are joined otherwise is a 403: no digit can move between them (api.md)."""
    raw, stamp = ping(somebody), int(time.time())
    signed = message.format(stamp=stamp, raw=raw.decode()).encode()
    digest = hmac.new(system.target.hmac_secret.encode(), signed, hashlib.sha256).hexdigest()
    with unchanged():
        answer = api.command(raw=raw, timestamp=stamp, signature=f"sha256={digest}")
    refused(answer, 403, "signature_invalid")
    logs.expect(answer, "sec.auth.fail", code="signature_invalid")


@case("signature/006", "sendCommand 403")
@pytest.mark.parametrize("position", [0, 1, 31, 32, 62, 63])
def test_every_digit_is_compared(position: int, api: Api, somebody: Enrolled, logs: Logs, unchanged: Unchanged) -> None:
    """One wrong digit, wherever it stands, is a 403 (api.md)."""
    raw, stamp = ping(somebody), int(time.time())
    digits = api.sign(stamp, raw).removeprefix("sha256=")
    wrong = "1" if digits[position] == "0" else "0"
    forged = f"sha256={digits[:position]}{wrong}{digits[position + 1 :]}"
    with unchanged():
        answer = api.command(raw=raw, timestamp=stamp, signature=forged)
    refused(answer, 403, "signature_invalid")
    logs.expect(answer, "sec.auth.fail", code="signature_invalid")


@case("signature/009", "sendCommand 403")
def test_another_secret_signs_nothing(
    api: Api, system: System, somebody: Enrolled, logs: Logs, unchanged: Unchanged
) -> None:
    """A signature made with another secret, part of the secret, the admin key or nothing is a 403 (001: HMAC)."""
    raw, stamp, target = ping(somebody), int(time.time()), system.target
    for secret in (target.hmac_secret + "x", target.hmac_secret[:-1], target.admin_key, ""):
        digest = hmac.new(secret.encode(), f"{stamp}.".encode() + raw, hashlib.sha256).hexdigest()
        with unchanged():
            answer = api.command(raw=raw, timestamp=stamp, signature=f"sha256={digest}")
        refused(answer, 403, "signature_invalid")
        logs.expect(answer, "sec.auth.fail", code="signature_invalid")


@case("signature/013", "sendCommand 403")
@pytest.mark.parametrize("key", [None, "", "wrong"])
def test_a_signature_does_not_replace_the_admin_key(
    key: str | None, api: Api, somebody: Enrolled, logs: Logs, unchanged: Unchanged
) -> None:
    """A good signature without a good X-Admin is a 403 (api.md: callers)."""
    raw, stamp = ping(somebody), int(time.time())
    headers = {"Content-Type": "application/json", "X-Timestamp": str(stamp), "X-Signature": api.sign(stamp, raw)}
    if key is not None:
        headers["X-Admin"] = key
    with unchanged():
        answer = api.request("POST", "/admin/command", content=raw, headers=headers)
    refused(answer, 403, "admin_required")
    logs.expect(answer, "sec.auth.fail", code="admin_required")
