"""POST /admin/command: signed, durable, sent once. Signatures are in test_signature.py, FCM in test_fcm.py."""

import json
import time
import uuid
from typing import Any

import pytest

from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.metrics import Metrics
from acceptance.system.system import NewDevice, System, Unchanged
from harness.fcm.server import FcmControl
from harness.waiting import eventually

UNKNOWN = "01890000-0000-7000-8000-000000000000"


@case("command/001", "sendCommand 200")
def test_a_ping_is_queued_and_sent(
    api: Api, device: NewDevice, logs: Logs, db: Database, metrics: Metrics, fcm: FcmControl
) -> None:
    """A signed ping is a 200 with its request_id, is durable, and reaches FCM with high priority (000 A; 001)."""
    one, request_id = device(), f"cmd-{uuid.uuid4().hex}"
    with metrics.moves(
        {
            'nexmdm_dispatches_total{status="queued"}': 1,
            'nexmdm_dispatches_total{status="sent"}': 1,
            "nexmdm_fcm_send_duration_seconds_count": 1,
            "nexmdm_dispatch_write_duration_seconds_count": 1,
        }
    ):
        answer = api.command({"request_id": request_id, "device_id": one.device_id, "action": "ping"})
        assert accepted(answer) == {
            "request_id": request_id,
            "dispatches": [{"request_id": request_id, "device_id": one.device_id, "status": "queued"}],
        }
        assert "idempotent-replay" not in answer.headers
        [message] = fcm.inbox(one.fcm_token, wait_s=5.0)
    data = message["data"]
    assert (data["request_id"], data["action"], json.loads(data["params"])) == (request_id, "ping", {})
    assert message["android"]["priority"].lower() == "high"
    assert 0 < float(message["android"]["ttl"].removesuffix("s")) <= 3600, "no longer than the command itself lives"
    logs.expect(
        answer,
        "dispatch.request",
        dispatch_request_id=request_id,
        command_request_id=request_id,
        device_id=one.device_id,
        action="ping",
    )
    sent = logs.wait(
        "dispatch.sent",
        dispatch_request_id=request_id,
        request_id=answer.request_id,
        route="worker:dispatch",
        device_id=one.device_id,
        attempt=1,
        http_code=200,
    )
    assert sent["fcm_message_id"] == message["message_id"]
    row = db.row("select * from fcm_dispatches where request_id = %s", request_id)
    assert (row["status"], row["http_code"], row["fcm_message_id"]) == ("sent", 200, message["message_id"])
    assert row["latency_ms"] > 0
    assert row["sent_at"] is not None
    assert row["retries"] == 0
    assert db.value("select http_request_id from commands where request_id = %s", request_id) == answer.request_id


@case("command/002", "sendCommand 200")
def test_a_command_to_several_devices_has_a_dispatch_for_each(
    api: Api, device: NewDevice, logs: Logs, db: Database, fcm: FcmControl
) -> None:
    """One command to several devices makes one dispatch with an id of its own for each, in the order given (001)."""
    devices = [device() for _ in range(3)][::-1]  # an order that no column has
    command = {
        "request_id": f"cmd-{uuid.uuid4().hex}",
        "device_ids": [one.device_id for one in devices],
        "action": "launch_app",
        "params": {"package_name": "com.example.app", "activity": ".MainActivity"},
    }
    answer = api.command(command)
    body = accepted(answer)
    assert [one["device_id"] for one in body["dispatches"]] == [one.device_id for one in devices]
    ids = [one["request_id"] for one in body["dispatches"]]
    assert len({*ids, body["request_id"]}) == 4
    assert all(uuid.UUID(one).version == 7 for one in ids)
    for one, request_id in zip(devices, ids, strict=True):
        [message] = fcm.inbox(one.fcm_token, wait_s=5.0)
        assert message["data"]["request_id"] == request_id
        assert json.loads(message["data"]["params"]) == {"package_name": "com.example.app", "activity": ".MainActivity"}
        logs.expect(answer, "dispatch.request", dispatch_request_id=request_id, device_id=one.device_id)
    assert accepted(api.command(command)) == body
    assert db.value("select count(*) from fcm_dispatches where command_request_id = %s", body["request_id"]) == 3


@case("command/003", "sendCommand 200")
def test_the_same_command_again_is_answered_from_the_first(
    system: System, api: Api, device: NewDevice, logs: Logs, db: Database, fcm: FcmControl
) -> None:
    """The same request_id with the same content: one row, one message, the first answer echoed (000 A: idempotency)."""
    one = device()
    body = {"request_id": f"cmd-{uuid.uuid4().hex}", "device_id": one.device_id, "action": "ping"}
    first = api.command(body)
    fcm.inbox(one.fcm_token, wait_s=5.0)
    again = api.command(body)
    assert accepted(again) == accepted(first)
    assert again.headers["idempotent-replay"] == "true"
    logs.expect(again, "dispatch.idempotency_hit", dispatch_request_id=body["request_id"])
    logs.expect(again, "db_operation", operation="idempotency_hit", entity="fcm_dispatches")
    assert not logs.of(again, "dispatch.request")
    eventually(system.settled, within_s=5.0)
    assert db.value("select count(*) from fcm_dispatches where command_request_id = %s", body["request_id"]) == 1
    assert len(fcm.inbox(one.fcm_token)) == 1


@case("command/004", "sendCommand 409")
@pytest.mark.parametrize("other_part", ["action", "device", "params"])
def test_a_request_id_with_other_content_is_a_conflict(
    other_part: str, api: Api, device: NewDevice, logs: Logs, fcm: FcmControl, unchanged: Unchanged
) -> None:
    """The same request_id with other content is a 409 that shows the prior dispatch and sends nothing (000 A: 409)."""
    one, other = device(), device()
    body: dict[str, Any] = {
        "request_id": f"cmd-{uuid.uuid4().hex}",
        "device_id": one.device_id,
        "action": "launch_app",
        "params": {"package_name": "com.example.app"},
    }
    changes: dict[str, dict[str, Any]] = {
        "action": {"action": "ping", "params": {}},
        "device": {"device_id": other.device_id},
        "params": {"params": {"package_name": "com.example.other"}},
    }
    accepted(api.command(body))
    fcm.inbox(one.fcm_token, wait_s=5.0)
    with unchanged():
        answer = api.command({**body, **changes[other_part]})
    prior = refused(answer, 409, "request_id_conflict")["prior"]
    assert prior["request_id"] == body["request_id"]
    assert prior["dispatches"][0]["device_id"] == one.device_id
    assert not logs.of(answer, "dispatch.request")
    assert len(fcm.inbox(one.fcm_token)) == 1
    assert fcm.inbox(other.fcm_token) == []


@case("command/005", "sendCommand 200")
def test_a_replayed_signed_body_sends_once(
    system: System, api: Api, device: NewDevice, logs: Logs, db: Database, fcm: FcmControl
) -> None:
    """A captured signed request without a request_id, sent again, is the same command and sends nothing (api.md)."""
    one = device()
    raw, stamp = json.dumps({"device_id": one.device_id, "action": "ping"}).encode(), int(time.time())
    first, again = (api.command(raw=raw, timestamp=stamp) for _ in range(2))
    assert accepted(again) == accepted(first)
    assert again.headers["idempotent-replay"] == "true"
    logs.expect(again, "dispatch.idempotency_hit", dispatch_request_id=accepted(first)["request_id"])
    fcm.inbox(one.fcm_token, wait_s=5.0)
    eventually(system.settled, within_s=5.0)
    assert len(fcm.inbox(one.fcm_token)) == 1
    assert db.value("select count(*) from fcm_dispatches where device_id = %s", one.device_id) == 1


@case("command/008", "sendCommand 404", "sendCommand 409")
@pytest.mark.parametrize(
    "state,status,code", [("unknown", 404, "device_not_found"), ("retired", 409, "device_retired")]
)
def test_one_unreachable_device_stops_the_whole_command(
    state: str, status: int, code: str, api: Api, device: NewDevice, logs: Logs, unchanged: Unchanged, fcm: FcmControl
) -> None:
    """If any device is unknown or retired, nothing is stored and nobody is sent anything (api.md)."""
    good, other = device(), UNKNOWN
    if state == "retired":
        other = device().device_id
        accepted(api.admin("DELETE", f"/v1/devices/{other}"))
    with unchanged():
        answer = api.command({"device_ids": [good.device_id, other], "action": "ping"})
    refused(answer, status, code)
    assert not logs.of(answer, "dispatch.request")
    assert fcm.inbox(good.fcm_token) == []


@case("command/009", "sendCommand 422")
@pytest.mark.parametrize(
    "change,pointer",
    [
        ({"action": "reboot"}, "/body"),
        ({"action": None}, "/body"),
        ({"params": {"loud": True}}, "/body/params"),
        ({"action": "launch_app"}, "/body/params"),
        ({"device_id": "D01"}, "/body/device_id"),
        ({"action": "launch_app", "params": {"package_name": "example"}}, "/body/params/package_name"),
        ({"action": "launch_app", "params": {"package_name": "a.b; rm"}}, "/body/params/package_name"),
        ({"device_ids": [UNKNOWN]}, "/body"),
        ({"request_id": "a b"}, "/body/request_id"),
        ({"device_id": ..., "device_ids": []}, "/body/device_ids"),
        ({"device_id": ..., "device_ids": [UNKNOWN, UNKNOWN]}, "/body/device_ids"),
        ({"device_id": ...}, "/body"),
    ],
    ids=lambda value: str(value)[:45],
)
def test_a_command_that_breaks_the_schema_is_refused(
    change: dict[str, Any], pointer: str, api: Api, logs: Logs, unchanged: Unchanged
) -> None:
    """Every schema violation of a command is a 422; params are checked per action (000 A: 422; api.md)."""
    body = {"device_id": UNKNOWN, "action": "ping", **change}
    with unchanged():
        answer = api.command({name: value for name, value in body.items() if value is not ...})
    found = pointers(refused(answer, 422, "validation_error"))
    assert all(one.startswith(pointer) for one in found), found
    assert not logs.of(answer, "dispatch.request")
