"""The simulated device sends what a device would, keeps what it was given, hides no refusal. No backend takes part."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from harness.devices.device import MILESTONES, Device
from harness.http.client import Answer, TransportError
from harness.http.transport import Params

ENROLMENT = "nxe_" + "e" * 43
DEVICE_ID = "0193a1b2-0000-7000-8000-000000000001"
DEVICE_TOKEN = "nxd_" + DEVICE_ID.replace("-", "") + "_" + "t" * 54


class Stub:
    """Answers what it was told to and remembers what it was sent."""

    base_url = "http://device.test"

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers = list(answers)
        self.sent: list[dict[str, Any]] = []

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        content: bytes | None = None,
        params: Params | None = None,
    ) -> Answer:
        lower = {name.lower(): value for name, value in headers}
        body = json.loads(content) if content else None
        self.sent.append({"call": f"{method} {path}", "headers": lower, "body": body, "params": params})
        if not self.answers:
            raise TransportError("connection refused")
        status, answer = self.answers.pop(0)
        return Answer(status, {}, json.dumps(answer).encode(), 1.0, lower.get("x-request-id"))


def enrolled(*answers: tuple[int, Any]) -> tuple[Device, Stub]:
    stub = Stub((200, {"device_id": DEVICE_ID, "device_token": DEVICE_TOKEN, "heartbeat_interval_s": 120}), *answers)
    device = Device(stub, "D01-x")
    assert device.enrol(ENROLMENT).status == 200
    return device, stub


def test_enrolment_keeps_the_identity_and_uses_the_enrolment_token_once() -> None:
    device, stub = enrolled((200, {}))
    assert (device.device_id, device.token) == (DEVICE_ID, DEVICE_TOKEN)
    device.heartbeat()
    assert [call["headers"]["authorization"] for call in stub.sent] == [f"Bearer {ENROLMENT}", f"Bearer {DEVICE_TOKEN}"]
    assert stub.sent[0]["body"]["alias"] == "D01-x"


def test_refused_enrolment_leaves_it_without_identity() -> None:
    stub = Stub((401, {"code": "token_expired"}))
    device = Device(stub, "D01-x")
    assert device.enrol(ENROLMENT).status == 401
    assert (device.device_id, device.token) == (None, None)
    assert [(m.event, m.status) for m in device.moments] == [("registered_failed", 401)]
    with pytest.raises(RuntimeError, match="not enrolled"):
        device.heartbeat()


def test_heartbeat_has_every_field_and_none_leaves_one_out() -> None:
    device, stub = enrolled((200, {}), (200, {}))
    device.heartbeat(status="warn", signal_dbm=None)
    body = stub.sent[-1]["body"]
    assert body["status"] == "warn"
    assert "signal_dbm" not in body
    assert set(body) | {"signal_dbm"} == {
        "status", "battery_pct", "plugged", "temp_c", "network_type", "signal_dbm", "uptime_s", "ram_used_mb",
        "unity_pkg_version", "unity_running", "agent_version",
    }  # fmt: skip  # one list, as in the contract


def test_no_null_is_ever_sent() -> None:
    device, stub = enrolled((200, {}))
    device.complete("cmd_1", message=None, data={"rtt_ms": 3})
    assert all(value is not None for call in stub.sent for value in call["body"].values())


def test_fact_given_at_enrolment_stays() -> None:
    stub = Stub((200, {"device_id": DEVICE_ID, "device_token": DEVICE_TOKEN}), (200, {}))
    device = Device(stub, "D01-x")
    device.enrol(ENROLMENT, fcm_token="f" * 20, agent_version="9.9.9", serial=None)
    assert device.fcm_token == "f" * 20
    assert "serial" not in stub.sent[0]["body"]
    device.heartbeat()
    assert stub.sent[1]["body"]["agent_version"] == "9.9.9"


def test_every_call_has_its_own_request_id() -> None:
    device, stub = enrolled((200, {}), (200, {}), (200, {}))
    device.heartbeat()
    device.heartbeat()
    device.complete("cmd_1")
    ids = [call["headers"]["x-request-id"] for call in stub.sent]
    assert ids == ["D01-x-0001", "D01-x-0002", "D01-x-0003", "D01-x-0004"]


def test_request_id_of_the_longest_alias_is_still_valid() -> None:
    stub = Stub((401, {}))
    Device(stub, "a" * 64).enrol(ENROLMENT)
    assert len(stub.sent[0]["headers"]["x-request-id"]) <= 64


def test_timeline_tells_failures_from_successes_and_a_repeat_from_the_first() -> None:
    device, _ = enrolled((200, {}), (503, {}), (200, {}), (200, {}))
    device.heartbeat()
    device.heartbeat()
    device.note("command", at=5.0, request_id="cmd_1")
    device.complete("cmd_1")
    device.complete("cmd_1")
    events = [moment.event for moment in device.timeline.moments]
    assert events == ["registered", "heartbeat", "heartbeat_failed", "command", "result", "result_repeated"]
    assert device.timeline.first("message") is None
    assert set(MILESTONES) >= {"registered", "heartbeat", "command", "message", "result"}


def test_lost_answer_is_noted_and_not_swallowed() -> None:
    device, _ = enrolled()
    with pytest.raises(TransportError):
        device.heartbeat()
    assert device.moments[-1].event == "heartbeat_failed"
    assert device.moments[-1].detail == "connection refused"


def test_download_asks_for_its_package_with_the_enrolment_token() -> None:
    stub = Stub((200, {}))
    Device(stub, "D01-x").download_apk(ENROLMENT, package_name="com.example.sim")
    assert stub.sent[0]["call"] == "GET /v1/apk/download-latest"
    assert dict(stub.sent[0]["params"]) == {"package_name": "com.example.sim"}


def test_facts_depend_on_the_alias_or_on_the_given_source_alone() -> None:
    assert Device(Stub(), "D01").facts == Device(Stub(), "D01").facts
    assert Device(Stub(), "D01").fcm_token != Device(Stub(), "D02").fcm_token
    assert Device(Stub(), "D01", rng=random.Random(1)).facts == Device(Stub(), "D02", rng=random.Random(1)).facts
