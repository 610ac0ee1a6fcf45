"""Whose an FCM token is: one device's at most, the newest that brings it; never a retired one's."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.database import Database
from acceptance.system.locks import unfinished
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.metrics import Metrics
from acceptance.system.system import Enrolled, NewDevice, System
from harness.fcm.server import FcmControl

MOVED = "nexmdm_fcm_tokens_moved_total"


def reachable(api: Api, device: Enrolled) -> bool:
    return bool(accepted(api.admin("GET", f"/v1/devices/{device.device_id}"))["has_fcm_token"])


@case("fcm-tokens/001", "retireDevice 200", "getDevice 200")
def test_a_retired_device_has_no_fcm_token(
    api: Api, device: NewDevice, db: Database, logs: Logs, metrics: Metrics
) -> None:
    """A retired device shows has_fcm_token false, and its token is stored no longer (issue 11)."""
    one = device()
    answer = api.admin("DELETE", f"/v1/devices/{one.device_id}")
    assert accepted(answer)["has_fcm_token"] is False
    assert reachable(api, one) is False
    logs.expect(answer, "device.retire", device_id=one.device_id)
    row = db.row("select * from devices where device_id = %s", one.device_id)
    assert (row["fcm_token"], row["fcm_token_dead_at"]) == (None, None)
    with metrics.moves({MOVED: 0}):
        assert reachable(api, device(fcm_token=one.fcm_token))


@case("fcm-tokens/002", "registerDevice 200", "recordHeartbeat 200")
@pytest.mark.parametrize("how", ["registration", "heartbeat"])
def test_the_newer_device_takes_a_token_from_the_older(
    how: str, system: System, api: Api, device: NewDevice, db: Database, logs: Logs, metrics: Metrics, fcm: FcmControl
) -> None:
    """Of two devices with one FCM token (a cloned image) the newer has it, the older's is dead (issue 11)."""
    older = device()
    with metrics.moves({MOVED: 1}):
        if how == "registration":
            newer = device(fcm_token=older.fcm_token)
            answer = newer.answer
        else:
            newer = device(fcm_token=None)
            answer = newer.heartbeat(fcm_token=older.fcm_token)
            accepted(answer)
    line = logs.expect(answer, "device.fcm_token_moved", device_id=newer.device_id, from_device_id=older.device_id)
    assert line["level"] == "WARNING"
    assert (reachable(api, older), reachable(api, newer)) == (False, True)
    rows = db.rows("select * from devices where fcm_token = %s order by registered_at", older.fcm_token)
    assert [row["fcm_token_dead_at"] is None for row in rows] == [False, True]
    failed, sent = system.ping(older), system.ping(newer)
    logs.wait("dispatch.fail", dispatch_request_id=failed, fcm_code="UNREGISTERED")
    logs.wait("dispatch.sent", dispatch_request_id=sent)
    assert len(fcm.inbox(older.fcm_token)) == 1


@case("fcm-tokens/003", "recordHeartbeat 200", "registerDevice 200")
def test_a_lost_token_comes_back_by_enrolment_alone(api: Api, device: NewDevice, logs: Logs, metrics: Metrics) -> None:
    """The older device's heartbeats with the lost token change nothing; enrolled again it takes it back (issue 11)."""
    older = device()
    newer = device(fcm_token=older.fcm_token)
    with metrics.moves({MOVED: 0}):
        for one in (older, newer):
            accepted(one.heartbeat(fcm_token=older.fcm_token))
    assert (reachable(api, older), reachable(api, newer)) == (False, True)
    with metrics.moves({MOVED: 1}):
        again = device(older.alias)
    logs.expect(again.answer, "device.fcm_token_moved", device_id=older.device_id, from_device_id=newer.device_id)
    assert (reachable(api, older), reachable(api, newer)) == (True, False)


@case("fcm-tokens/004", "recordHeartbeat 401")
def test_a_device_that_is_being_retired_gets_no_token(two_workers: System) -> None:
    """A heartbeat with a token that waits for its device's retirement stores no token (issue 11)."""
    system, device, other = two_workers, two_workers.device(), two_workers.device()
    row = "select from devices where device_id = %s for no key update"
    with ThreadPoolExecutor(2) as pool:
        with unfinished(system, row, device.device_id) as wait_for:
            retired = pool.submit(system.api.admin, "DELETE", f"/v1/devices/{device.device_id}")
            wait_for(1)
            beat = pool.submit(device.heartbeat, fcm_token=other.fcm_token)
            wait_for(2)
        accepted(retired.result())
        refused(beat.result(), 401, "token_invalid")
    assert system.db.value("select fcm_token from devices where device_id = %s", device.device_id) is None
    assert reachable(system.api, other)
    system.logs.expect(beat.result(), "sec.auth.fail", code="token_invalid")
