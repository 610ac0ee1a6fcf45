"""Commands that wait while their device is retired or enrolled again: they are not sent, and say why."""

from collections.abc import Callable
from typing import Any

import pytest

from acceptance.suite.case import case
from acceptance.system.database import Database
from acceptance.system.locks import unfinished
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.metrics import Metrics
from acceptance.system.system import Enrolled, FreshBackend, NewDevice, System
from harness.fcm.server import FcmControl
from harness.http.client import Answer
from harness.waiting import eventually

AWAY = {"status": 503, "error_code": "UNAVAILABLE", "retry_after": 30, "times": 0}


def shown(system: System, request_id: str) -> dict[str, Any]:
    found: dict[str, Any] = accepted(system.api.admin("GET", f"/admin/dispatches/{request_id}"))
    return found


def becomes(system: System, request_id: str, status: str) -> None:
    eventually(lambda: shown(system, request_id)["status"] == status, within_s=10.0, what=f"{status} of {request_id}")


def retire(system: System, device: Enrolled) -> Answer:
    return system.api.admin("DELETE", f"/v1/devices/{device.device_id}")


def enrol_again(system: System, device: Enrolled) -> Answer:
    return system.device(device.alias).answer


CHANGES = [
    pytest.param(retire, "device_retired", id="retired"),
    pytest.param(enrol_again, "device_reenrolled", id="enrolled again"),
]
Change = Callable[[System, Enrolled], Answer]


@case("withdrawals/001", "retireDevice 200", "registerDevice 200", "getDispatch 200")
@pytest.mark.parametrize("change,code", CHANGES)
def test_commands_that_wait_fail_with_a_reason(
    change: Change, code: str, system: System, device: NewDevice, logs: Logs, metrics: Metrics, fcm: FcmControl
) -> None:
    """What waits for FCM when its device is retired or enrolled again is never sent: failed, with a code (issue 11)."""
    one, other = device(), device()
    sent = system.ping(one)
    becomes(system, sent, "sent")
    fcm.script([AWAY], token=one.fcm_token)
    waiting = [system.ping(one), system.ping(one)]
    for request_id in waiting:
        logs.wait("dispatch.retry", dispatch_request_id=request_id)
    with metrics.moves({'nexmdm_dispatches_total{status="failed"}': 2}):
        answer = change(system, one)
        accepted(answer)
        for request_id in waiting:
            dispatch = shown(system, request_id)
            assert (dispatch["status"], dispatch["fcm_code"]) == ("failed", code)
            assert (dispatch["http_code"], dispatch["latency_ms"], dispatch["sent_at"]) == (None, None, None)
            assert dispatch["error_msg"]
            last = dispatch["transitions"][-1]
            assert (last["status"], last["fcm_code"], last["error_msg"]) == ("failed", code, dispatch["error_msg"])
    for request_id in waiting:
        line = logs.expect(answer, "dispatch.fail", dispatch_request_id=request_id, device_id=one.device_id)
        assert (line["fcm_code"], line["http_code"], line["latency_ms"]) == (code, None, None)
        assert line["attempt"] >= 1
    assert shown(system, sent)["status"] == "sent"
    fcm.script([], token=one.fcm_token)
    later = system.ping(other if change is retire else one)
    becomes(system, later, "sent")
    taken = [message["data"]["request_id"] for message in fcm.inbox() if message["status"] == 200]
    assert not set(taken) & set(waiting)


@case("withdrawals/002", "retireDevice 200", slow="waits 3 s for a command to expire")
def test_a_sent_command_expires_in_its_time(fresh_backend: FreshBackend) -> None:
    """A command that FCM has taken before its device was retired stays sent, and expires in its time (issue 11)."""
    system: System = fresh_backend(env={"NEXMDM_COMMAND_TTL_S": "3"})
    one = system.device()
    request_id = system.ping(one)
    system.logs.wait("dispatch.sent", dispatch_request_id=request_id)
    answer = retire(system, one)
    accepted(answer)
    assert shown(system, request_id)["status"] == "sent"
    assert not system.logs.of(answer, "dispatch.fail")
    becomes(system, request_id, "expired")
    system.logs.wait("dispatch.expired", dispatch_request_id=request_id)


@case("withdrawals/003", "retireDevice 200", "registerDevice 200", "getDispatch 200")
@pytest.mark.parametrize("change,code", CHANGES)
@pytest.mark.parametrize(
    "said,step",
    [
        pytest.param({"status": 200}, ("sent", 200, "OK"), id="taken"),
        pytest.param({"status": 503, "error_code": "UNAVAILABLE"}, ("queued", 503, "UNAVAILABLE"), id="away"),
        pytest.param({"status": 404, "error_code": "UNREGISTERED"}, ("failed", 404, "UNREGISTERED"), id="app removed"),
    ],
)
def test_an_attempt_that_was_begun_is_recorded_and_changes_nothing(
    said: dict[str, Any],
    step: tuple[str, int, str],
    change: Change,
    code: str,
    system: System,
    device: NewDevice,
    logs: Logs,
    metrics: Metrics,
    fcm: FcmControl,
) -> None:
    """Whatever FCM says to an attempt begun before, the dispatch stays failed; the attempt is on record (issue 11)."""
    one = device()
    fcm.script([{**said, "delay_s": 3.0, "times": 0}], token=one.fcm_token)
    moves = {'nexmdm_dispatches_total{status="failed"}': 1, 'nexmdm_dispatches_total{status="sent"}': 0}
    with metrics.moves({**moves, "nexmdm_fcm_send_duration_seconds_count": 1}):
        request_id = system.ping(one)
        becomes(system, request_id, "sending")
        answer = change(system, one)
        accepted(answer)
        eventually(lambda: shown(system, request_id)["transitions"][-1]["latency_ms"] is not None, within_s=8.0)
    dispatch = shown(system, request_id)
    assert (dispatch["status"], dispatch["fcm_code"], dispatch["retries"]) == ("failed", code, 0)
    assert (dispatch["http_code"], dispatch["latency_ms"], dispatch["fcm_message_id"]) == (None, None, None)
    steps = [(one["status"], one["http_code"], one["fcm_code"]) for one in dispatch["transitions"]]
    assert steps[-2:] == [("failed", None, code), step]
    logs.expect(answer, "dispatch.fail", dispatch_request_id=request_id, fcm_code=code)
    assert not [line for line in logs.since() if line["event"] == "dispatch.retry"], "nothing will be tried again"
    assert len(fcm.inbox(one.fcm_token)) == 1


@case("withdrawals/004", "retireDevice 503", "registerDevice 503", slow="waits 5 s")
@pytest.mark.parametrize("how", ["retired", "enrolled again"])
def test_what_cannot_be_withdrawn_keeps_its_device(
    how: str, system: System, device: NewDevice, db: Database, logs: Logs, fcm: FcmControl
) -> None:
    """A device is retired or enrolled again together with the withdrawal of its commands, or not at all (issue 11)."""
    one = device()
    fcm.script([AWAY], token=one.fcm_token)
    request_id = system.ping(one)
    logs.wait("dispatch.retry", dispatch_request_id=request_id)
    token = system.token(aliases=[one.alias])
    calls: dict[str, Callable[[], Answer]] = {
        "retired": lambda: retire(system, one),
        "enrolled again": lambda: system.api.bearer(
            token["token"], "POST", "/v1/register", json={"agent_version": "1.4.2"}
        ),
    }
    with unfinished(system, "select from fcm_dispatches where request_id = %s for update", request_id):
        answer = calls[how]()  # waits for as long as a statement may
    refused(answer, 503, "dependency_unavailable")
    logs.expect(answer, "dependency.unavailable", dependency="database")
    assert not logs.of(answer, "dispatch.fail")
    assert shown(system, request_id)["status"] == "queued"
    row = db.row("select * from devices where device_id = %s", one.device_id)
    assert (row["retired_at"], row["token_version"], row["fcm_token"]) == (None, 1, one.fcm_token)
    assert db.value("select uses_consumed from enrollment_tokens where token_id = %s", token["token_id"]) == 0
    accepted(one.heartbeat())
    accepted(retire(system, one))  # nothing is left to be sent
