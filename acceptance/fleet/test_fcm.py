"""What the service does with FCM's answers: retries, dead tokens, expiry, results that overtake the send."""

from pathlib import Path
from typing import Any

import pytest

from acceptance.fleet.dispatches import ended, shown
from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted
from acceptance.system.metrics import Metrics
from acceptance.system.system import FreshBackend, NewDevice, System
from acceptance.system.web_workers import background_process, kill
from harness.fcm.server import FcmControl
from harness.waiting import eventually


@case("fcm/001")
def test_an_unregistered_token_is_dead(
    system: System, api: Api, device: NewDevice, logs: Logs, db: Database, metrics: Metrics, fcm: FcmControl
) -> None:
    """UNREGISTERED fails the dispatch and marks the token dead until the device brings a new one (001)."""
    one = device()
    fcm.script([{"status": 404, "error_code": "UNREGISTERED", "times": 0}], token=one.fcm_token)
    with metrics.moves({'nexmdm_dispatches_total{status="failed"}': 1}):
        first = system.ping(one)
        eventually(ended(api, first, "failed"), within_s=5.0)
    dispatch = shown(api, first)
    assert (dispatch["http_code"], dispatch["fcm_code"], dispatch["retries"]) == (404, "UNREGISTERED", 0)
    logs.wait("dispatch.fail", dispatch_request_id=first, attempt=1, http_code=404, fcm_code="UNREGISTERED")
    assert db.value("select fcm_token_dead_at is not null from devices where device_id = %s", one.device_id)
    assert accepted(api.admin("GET", f"/v1/devices/{one.device_id}"))["has_fcm_token"] is False
    second = system.ping(one)
    eventually(ended(api, second, "failed"), within_s=5.0)
    assert len(fcm.inbox(one.fcm_token)) == 1, "a dead token is not tried again"
    accepted(one.heartbeat(fcm_token="fcm:fresh-" + one.device_id))
    assert accepted(api.admin("GET", f"/v1/devices/{one.device_id}"))["has_fcm_token"] is True
    eventually(ended(api, system.ping(one), "sent"), within_s=5.0)


@case("fcm/002")
@pytest.mark.parametrize(
    "fault,http_code,fcm_code",
    [
        pytest.param({"status": 429, "error_code": "QUOTA_EXCEEDED"}, 429, "QUOTA_EXCEEDED", id="429"),
        pytest.param({"status": 503, "error_code": "UNAVAILABLE"}, 503, "UNAVAILABLE", id="503"),
        pytest.param({"status": 500, "error_code": "INTERNAL"}, 500, "INTERNAL", id="500"),
        pytest.param({"drop": True}, None, None, id="a dropped connection"),
    ],
)
def test_a_passing_fault_is_retried_and_recorded(
    fault: dict[str, Any],
    http_code: int | None,
    fcm_code: str | None,
    system: System,
    api: Api,
    device: NewDevice,
    logs: Logs,
    fcm: FcmControl,
    metrics: Metrics,
) -> None:
    """A passing fault of FCM is retried; every attempt is on record with code and latency (001: durable logging)."""
    one = device()
    fcm.script([{**fault, "times": 2}], token=one.fcm_token)
    with metrics.moves({'nexmdm_dispatches_total{status="sent"}': 1, "nexmdm_fcm_send_duration_seconds_count": 3}):
        request_id = system.ping(one)
        eventually(ended(api, request_id, "sent"), within_s=10.0)
    dispatch = shown(api, request_id)
    assert dispatch["retries"] == 2
    assert dispatch["http_code"] == 200
    assert len(fcm.inbox(one.fcm_token)) == 3
    attempts = [step for step in dispatch["transitions"] if step["latency_ms"] is not None]
    assert [(step["status"], step["http_code"]) for step in attempts] == [
        ("queued", http_code),
        ("queued", http_code),
        ("sent", 200),
    ]
    assert all(step["latency_ms"] > 0 for step in attempts)
    for number in (1, 2):
        line = logs.wait("dispatch.retry", dispatch_request_id=request_id, attempt=number, http_code=http_code)
        assert line["retry_in_s"] > 0
        assert fcm_code in (None, line["fcm_code"])
    assert fcm_code is None or attempts[0]["fcm_code"] == fcm_code


@case("fcm/003")
@pytest.mark.parametrize(
    "status,code", [(400, "INVALID_ARGUMENT"), (403, "SENDER_ID_MISMATCH"), (401, "THIRD_PARTY_AUTH_ERROR")]
)
def test_a_lasting_fault_fails_at_once(
    status: int, code: str, system: System, api: Api, device: NewDevice, logs: Logs, fcm: FcmControl, db: Database
) -> None:
    """A fault that no retry can mend fails the dispatch on its first attempt and leaves the token alone (001)."""
    one = device()
    fcm.script([{"status": status, "error_code": code, "times": 0}], token=one.fcm_token)
    request_id = system.ping(one)
    eventually(ended(api, request_id, "failed"), within_s=5.0)
    dispatch = shown(api, request_id)
    assert (dispatch["http_code"], dispatch["fcm_code"], dispatch["sent_at"]) == (status, code, None)
    logs.wait("dispatch.fail", dispatch_request_id=request_id, http_code=status, fcm_code=code)
    assert len(fcm.inbox(one.fcm_token)) == 1
    assert db.value("select fcm_token_dead_at from devices where device_id = %s", one.device_id) is None


@case("fcm/004")
def test_a_device_without_an_fcm_token_cannot_be_sent_to(
    system: System, api: Api, device: NewDevice, logs: Logs
) -> None:
    """A command to a device that never gave an FCM token is accepted and fails with a reason (001: precise errors)."""
    one = device(fcm_token=None)
    assert accepted(api.admin("GET", f"/v1/devices/{one.device_id}"))["has_fcm_token"] is False
    request_id = system.ping(one)
    eventually(ended(api, request_id, "failed"), within_s=5.0)
    assert shown(api, request_id)["error_msg"]
    assert shown(api, request_id)["http_code"] is None
    logs.wait("dispatch.fail", dispatch_request_id=request_id, device_id=one.device_id)


@case("fcm/005")
def test_retry_after_is_obeyed(system: System, api: Api, device: NewDevice, logs: Logs, fcm: FcmControl) -> None:
    """FCM's Retry-After is the least time to the next attempt (FCM HTTP v1)."""
    one = device()
    fcm.script([{"status": 429, "error_code": "QUOTA_EXCEEDED", "retry_after": 1}], token=one.fcm_token)
    request_id = system.ping(one)
    eventually(ended(api, request_id, "sent"), within_s=10.0)
    assert logs.wait("dispatch.retry", dispatch_request_id=request_id)["retry_in_s"] >= 1
    first, second = fcm.inbox(one.fcm_token)
    assert second["at"] - first["at"] >= 1


@case("fcm/006", slow="kills the fake FCM")
def test_commands_wait_out_an_fcm_that_is_down(fresh_backend: FreshBackend) -> None:
    """With FCM down commands are accepted and stay queued; they are sent, once, when it is back (001: durable)."""
    system: System = fresh_backend()
    devices = [system.device() for _ in range(3)]
    system.running.fcm.kill()
    ids = {one.fcm_token: system.ping(one) for one in devices}
    for request_id in ids.values():
        line = system.logs.wait("dispatch.retry", dispatch_request_id=request_id)
        assert line["http_code"] is None
        assert shown(system.api, request_id)["status"] in ("queued", "sending")
    system.running.fcm.restart()
    for fcm_token, request_id in ids.items():
        eventually(ended(system.api, request_id, "sent"), within_s=10.0)
        delivered = [one for one in system.fcm.inbox(fcm_token) if one["status"] == 200]
        assert [one["data"]["request_id"] for one in delivered] == [request_id]


@case("fcm/007", slow="waits for commands to expire")
def test_a_command_that_outlives_its_time_expires(fresh_backend: FreshBackend) -> None:
    """A command that FCM does not take, or no device answers, within its time expires (api.md: expired)."""
    system: System = fresh_backend(env={"NEXMDM_COMMAND_TTL_S": "1"})
    one, silent = system.device(), system.device()
    system.fcm.script([{"status": 503, "error_code": "UNAVAILABLE", "times": 0}], token=one.fcm_token)
    with system.metrics.moves({'nexmdm_dispatches_total{status="expired"}': 2}, within_s=5.0):
        ids = {target.device_id: system.ping(target) for target in (one, silent)}
        for request_id in ids.values():
            eventually(ended(system.api, request_id, "expired"), within_s=10.0)
    for device_id, request_id in ids.items():
        system.logs.wait("dispatch.expired", dispatch_request_id=request_id, device_id=device_id, action="ping")
        assert system.db.value("select status from fcm_dispatches where request_id = %s", request_id) == "expired"
    assert len(system.fcm.inbox(silent.fcm_token)) == 1


@case("fcm/008")
def test_a_result_may_overtake_the_send(
    system: System, device: NewDevice, logs: Logs, fcm: FcmControl, db: Database
) -> None:
    """A device that answers before FCM's answer is stored completes its dispatch; the send is still recorded (001)."""
    one = device()
    fcm.script([{"status": 200, "delay_s": 1.0}], token=one.fcm_token)
    request_id = system.ping(one)
    sending = "select status = 'sending' from fcm_dispatches where request_id = %s"
    eventually(lambda: db.value(sending, request_id), within_s=5.0)
    accepted(one.complete(request_id))
    logs.wait("dispatch.sent", dispatch_request_id=request_id)
    row = db.row("select * from fcm_dispatches where request_id = %s", request_id)
    assert (row["status"], row["http_code"], row["outcome"]) == ("completed", 200, "ok")
    logs.wait("action_result.ingest", dispatch_request_id=request_id)
    assert len(fcm.inbox(one.fcm_token)) == 1


@case("fcm/009", slow="kills its backend")
def test_a_kill_leaves_nothing_running_and_loses_no_command(fresh_backend: FreshBackend) -> None:
    """kill -9 leaves no process behind; a command that was accepted is sent by the next service (001: durable)."""
    system: System = fresh_backend(workers=2)
    one = system.device()
    system.fcm.script([{"status": 503, "error_code": "UNAVAILABLE", "times": 0}], token=one.fcm_token)
    request_id = system.ping(one)
    system.logs.wait("dispatch.retry", dispatch_request_id=request_id)
    started = [line["pid"] for line in system.logs.tap.since(0) if line["event"] == "service.start"]
    assert len(started) == 4, "a supervisor, two web workers and the background process"
    system.check_log()  # an access line is written after its answer: who is killed may owe one
    system.running.backend.kill()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), within_s=10.0)
    system.fcm.reset()
    system.running.backend.restart()
    eventually(ended(system.api, request_id, "sent"), within_s=10.0)
    assert [message["data"]["request_id"] for message in system.fcm.inbox(one.fcm_token)] == [request_id]


@case("fcm/010")
def test_a_slow_answer_is_waited_for(
    system: System, api: Api, device: NewDevice, logs: Logs, fcm: FcmControl, db: Database
) -> None:
    """While FCM takes seconds over a message nobody sends it a second time (000 A: no duplicate send)."""
    one = device()
    fcm.script([{"status": 200, "delay_s": 2.5}], token=one.fcm_token)
    request_id = system.ping(one)
    eventually(ended(api, request_id, "sent"), within_s=10.0)
    logs.wait("dispatch.sent", dispatch_request_id=request_id, attempt=1)
    assert len(fcm.inbox(one.fcm_token)) == 1
    assert db.value("select attempts from fcm_dispatches where request_id = %s", request_id) == 1


@case("fcm/011", slow="kills its backend")
def test_who_dies_while_sending_loses_no_command(fresh_backend: FreshBackend) -> None:
    """A command whose dispatcher is killed in the middle of sending it is sent by the next (001: durable)."""
    system: System = fresh_backend(env={"NEXMDM_FCM_TIMEOUT_S": "1"})  # a claim ends 5 s after twice this time
    one = system.device()
    system.fcm.script([{"status": 200, "delay_s": 5.0}], token=one.fcm_token)
    request_id = system.ping(one)
    sending = "select status = 'sending' from fcm_dispatches where request_id = %s"
    eventually(lambda: system.db.value(sending, request_id), within_s=5.0)
    victim = background_process(system)
    kill(system, victim)
    system.logs.wait("service.stop", pid=victim, role="background", level="ERROR")
    eventually(ended(system.api, request_id, "sent"), within_s=20.0)
    system.logs.wait("dispatch.sent", dispatch_request_id=request_id)
