"""The signature of POST /admin/command is compared, whole, and bound to the timestamp and the raw body.

A fuzzer that sends each credential wrong on its own never finds a service that checks the signature's shape alone.
It deliberately does not test what a command does.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from typing import Any

import pytest

from contracts.expected import expect_problem, expect_success
from contracts.fuzz.world import Enrolled, World
from contracts.wire import RawAnswer, RawRequest, Wire
from harness.settings import Target

Command = Callable[..., RawAnswer]


def signature(secret: str, timestamp: str, raw: bytes) -> str:
    """api.md: HMAC-SHA256(secret, timestamp + "." + raw body). Written out here, so that no code of ours is shared."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + raw, hashlib.sha256).hexdigest()


def now(offset_s: int = 0) -> str:
    return str(int(time.time()) + offset_s)


def ping(device: Enrolled, **members: Any) -> bytes:
    return json.dumps({"device_id": device.device_id, "action": "ping", **members}).encode()


def fresh_id() -> str:
    return f"contract-{secrets.token_hex(8)}"


@pytest.fixture
def command(target: Target, wire: Wire) -> Command:
    def post(raw: bytes, timestamp: str | None, sign: str | None, *, admin: str | None = target.admin_key) -> RawAnswer:
        given = {"Content-Type": "application/json", "X-Admin": admin, "X-Timestamp": timestamp, "X-Signature": sign}
        headers = tuple((name, value) for name, value in given.items() if value is not None)
        return wire.send(RawRequest("POST", "/admin/command", headers, raw))

    return post


@pytest.fixture
def signed(target: Target, command: Command) -> Callable[[bytes], RawAnswer]:
    def post(raw: bytes) -> RawAnswer:
        timestamp = now()
        return command(raw, timestamp, signature(target.hmac_secret, timestamp, raw))

    return post


def stored(world: World, request_id: str) -> int:
    """How many dispatches the service has for a command."""
    answer = world.client.admin("GET", "/admin/dispatches", params={"command_request_id": request_id})
    assert answer.status == 200, answer.status
    return len(answer.json()["items"])


def test_signed_command_is_accepted(signed: Callable[[bytes], RawAnswer], world: World, device: Enrolled) -> None:
    """signature/001: the right signature over timestamp and raw body is accepted, and the command is stored."""
    request_id = fresh_id()
    expect_success(signed(ping(device, request_id=request_id)))
    assert stored(world, request_id) == 1


def test_signature_is_bound_to_the_body(target: Target, command: Command, world: World, device: Enrolled) -> None:
    """signature/002: a signature made for one body does not carry another, and nothing is stored."""
    signed_id, forged_id, timestamp = fresh_id(), fresh_id(), now()
    sign = signature(target.hmac_secret, timestamp, ping(device, request_id=signed_id))
    expect_problem(command(ping(device, request_id=forged_id), timestamp, sign), 403, "signature_invalid")
    assert stored(world, signed_id) == stored(world, forged_id) == 0


def test_signature_is_bound_to_the_raw_bytes(target: Target, command: Command, device: Enrolled) -> None:
    """signature/003: the same JSON in other bytes (spaces, order, an escape) needs another signature."""
    body = {"action": "ping", "device_id": device.device_id, "request_id": fresh_id()}
    raw, timestamp = json.dumps(body).encode(), now()
    sign = signature(target.hmac_secret, timestamp, raw)
    compact = json.dumps(body, separators=(",", ":")).encode()
    reordered = json.dumps(dict(reversed(body.items()))).encode()
    escaped = raw.replace(b'"ping"', b'"\\u0070ing"')
    for other in (compact, reordered, escaped, raw + b" ", raw + b"\n"):
        assert json.loads(other) == body
        expect_problem(command(other, timestamp, sign), 403, "signature_invalid")


@pytest.mark.parametrize("offset_s", [-1, 1, 60], ids="timestamp{:+}s".format)
def test_signature_is_bound_to_the_timestamp(target: Target, command: Command, device: Enrolled, offset_s: int) -> None:
    """signature/004: another timestamp within the window needs another signature."""
    raw, timestamp = ping(device, request_id=fresh_id()), now()
    sign = signature(target.hmac_secret, timestamp, raw)
    expect_problem(command(raw, str(int(timestamp) + offset_s), sign), 403, "signature_invalid")


def test_separator_counts(target: Target, command: Command, device: Enrolled) -> None:
    """signature/005: timestamp and body are joined by a dot; a digit cannot wander from one to the other."""
    raw, timestamp = ping(device, request_id=fresh_id()), now()
    for message in (timestamp.encode() + raw, raw, timestamp.encode() + b"\n" + raw, raw + b"." + timestamp.encode()):
        wrong = "sha256=" + hmac.new(target.hmac_secret.encode(), message, hashlib.sha256).hexdigest()
        expect_problem(command(raw, timestamp, wrong), 403, "signature_invalid")


@pytest.mark.parametrize("position", [0, 1, 31, 32, 62, 63])
def test_every_digit_is_compared(target: Target, command: Command, device: Enrolled, position: int) -> None:
    """signature/006: one wrong digit, wherever it stands, is enough for a refusal."""
    raw, timestamp = ping(device, request_id=fresh_id()), now()
    prefix, digits = signature(target.hmac_secret, timestamp, raw).split("=")
    wrong = "1" if digits[position] == "0" else "0"
    forged = f"{prefix}={digits[:position]}{wrong}{digits[position + 1 :]}"
    expect_problem(command(raw, timestamp, forged), 403, "signature_invalid")


MALFORMED: dict[str, Callable[[str], str]] = {
    "empty": lambda _: "",
    "no digits": lambda _: "sha256=",
    "cut short": lambda sign: sign[:-1],
    "too long": lambda sign: sign + "0",
    "without sha256=": lambda sign: sign.partition("=")[2],
    "sha1=": lambda sign: sign.replace("sha256", "sha1"),
    "not hex": lambda sign: sign[:-1] + "g",
    "zeros": lambda _: "sha256=" + "0" * 64,
    "not ASCII": lambda sign: sign[:-1] + "\xe9",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_signature(target: Target, command: Command, device: Enrolled, name: str) -> None:
    """signature/007: what is no signature is refused like a wrong one, never with a 500."""
    raw, timestamp = ping(device, request_id=fresh_id()), now()
    sign = MALFORMED[name](signature(target.hmac_secret, timestamp, raw))
    expect_problem(command(raw, timestamp, sign), 403, "signature_invalid")


@pytest.mark.parametrize("timestamp", ["abc", "1e9", "-1", "+1763632800", "1763632800.5", "0x10", "9" * 400, "\xb2"])
def test_malformed_timestamp(target: Target, command: Command, device: Enrolled, timestamp: str) -> None:
    """signature/008: a timestamp is digits; anything else is refused even if it is signed."""
    raw = ping(device, request_id=fresh_id())
    expect_problem(command(raw, timestamp, signature(target.hmac_secret, timestamp, raw)), 403, "signature_invalid")


def test_wrong_secret(command: Command, target: Target, device: Enrolled) -> None:
    """signature/009: a signature made with another secret, the admin key or nothing is refused."""
    raw, timestamp = ping(device, request_id=fresh_id()), now()
    for secret in (target.hmac_secret + "x", target.hmac_secret[:-1], target.admin_key, ""):
        expect_problem(command(raw, timestamp, signature(secret, timestamp, raw)), 403, "signature_invalid")


@pytest.mark.parametrize("missing", ["timestamp", "signature", "both"])
def test_missing_header(target: Target, command: Command, device: Enrolled, missing: str) -> None:
    """signature/010: both headers are needed."""
    raw, timestamp = ping(device, request_id=fresh_id()), now()
    sign = signature(target.hmac_secret, timestamp, raw)
    answer = command(raw, timestamp if missing == "signature" else None, sign if missing == "timestamp" else None)
    expect_problem(answer, 403, "signature_missing")


@pytest.mark.parametrize("offset_s", [-310, 310, -86_400])
def test_expired(target: Target, command: Command, world: World, device: Enrolled, offset_s: int) -> None:
    """signature/011: a good signature outside the window of 300 seconds is refused, and nothing is stored."""
    request_id, timestamp = fresh_id(), now(offset_s)
    raw = ping(device, request_id=request_id)
    answer = command(raw, timestamp, signature(target.hmac_secret, timestamp, raw))
    expect_problem(answer, 403, "signature_expired")
    assert stored(world, request_id) == 0


@pytest.mark.parametrize("offset_s", [-290, 290])
def test_window(target: Target, command: Command, device: Enrolled, offset_s: int) -> None:
    """signature/012: within 300 seconds of the server's clock, before and after, a good signature is accepted."""
    raw, timestamp = ping(device, request_id=fresh_id()), now(offset_s)
    expect_success(command(raw, timestamp, signature(target.hmac_secret, timestamp, raw)))


@pytest.mark.parametrize("admin", [None, "", "wrong"])
def test_signature_does_not_replace_the_admin_key(
    target: Target, command: Command, device: Enrolled, admin: str | None
) -> None:
    """signature/013: a good signature without a good X-Admin is refused."""
    raw, timestamp = ping(device, request_id=fresh_id()), now()
    answer = command(raw, timestamp, signature(target.hmac_secret, timestamp, raw), admin=admin)
    expect_problem(answer, 403, "admin_required")


def test_signature_is_judged_before_the_body(target: Target, command: Command) -> None:
    """signature/014: an unsigned body that is no JSON is refused for its signature; signed, for itself."""
    raw, timestamp = b"{", now()
    expect_problem(command(raw, timestamp, "sha256=" + "0" * 64), 403, "signature_invalid")
    expect_problem(command(raw, timestamp, signature(target.hmac_secret, timestamp, raw)), 400, "malformed_json")


def test_replayed_request_is_one_command(target: Target, command: Command, world: World, device: Enrolled) -> None:
    """signature/015: a signed body without request_id that is sent again is the same command, and says so."""
    raw, timestamp = ping(device), now()
    sign = signature(target.hmac_secret, timestamp, raw)
    first, again = command(raw, timestamp, sign), command(raw, timestamp, sign)
    expect_success(first)
    expect_success(again)
    assert "idempotent-replay" not in first.headers
    assert again.headers.get("idempotent-replay") == "true"
    assert again.body == first.body
    assert stored(world, first.json()["request_id"]) == 1
