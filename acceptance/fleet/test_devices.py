"""GET /v1/devices, GET and DELETE /v1/devices/{device_id}: the fleet. Pages are in test_pages.py."""

import pytest

from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, refused
from acceptance.system.system import NewDevice, Unchanged

UNKNOWN = "01890000-0000-7000-8000-000000000000"


@case("devices/001", "listDevices 200", "getDevice 200")
def test_a_device_is_shown_with_its_facts_and_health(api: Api, device: NewDevice, logs: Logs) -> None:
    """The list and the single view show a device's facts, when it was last seen, and what it said (001; api.md)."""
    one = device(manufacturer="Samsung", model="SM-A546B", serial="R58", android_version="14", sdk_int=34)
    single = accepted(api.admin("GET", f"/v1/devices/{one.device_id}"))
    assert single["last_seen"] is None
    assert single["last_status"] is None
    accepted(one.heartbeat(status="warn"))
    answer = api.admin("GET", f"/v1/devices/{one.device_id}")
    shown = accepted(answer)
    expected = {
        "device_id": one.device_id,
        "alias": one.alias,
        "status": "active",
        "agent_version": "1.4.2",
        "manufacturer": "Samsung",
        "model": "SM-A546B",
        "serial": "R58",
        "android_version": "14",
        "sdk_int": 34,
        "has_fcm_token": True,
        "retired_at": None,
        "last_status": "warn",
    }
    assert {name: shown[name] for name in expected} == expected
    assert shown["last_seen"] is not None
    assert accepted(api.admin("GET", "/v1/devices", params={"alias": one.alias}))["items"] == [shown]
    logs.expect(answer, "http.request", status=200)


@case("devices/002", "listDevices 200")
def test_filters_pick_devices(api: Api, device: NewDevice, logs: Logs) -> None:
    """status, last_status and stale_since each pick exactly the devices that they name (api.md: filters)."""
    silent, erring, retired = device(), device(), device()
    accepted(erring.heartbeat(status="error"))
    accepted(api.admin("DELETE", f"/v1/devices/{retired.device_id}"))
    mine = {silent.device_id, erring.device_id, retired.device_id}
    for params, expected in [
        ({"status": "active"}, {silent, erring}),
        ({"status": "retired"}, {retired}),
        ({"last_status": "error"}, {erring}),
        ({"last_status": "ok"}, set()),
        ({"stale_since": "2020-01-01T00:00:00Z"}, {silent, retired}),
        ({"stale_since": "2099-01-01T00:00:00Z"}, {silent, erring, retired}),
    ]:
        answer = api.admin("GET", "/v1/devices", params={**params, "limit": 200})
        found = {item["device_id"] for item in accepted(answer)["items"]}
        assert found & mine == {one.device_id for one in expected}, params
        logs.expect(answer, "http.request", status=200)


@case("devices/003", "retireDevice 200")
def test_a_retired_device_is_refused_from_then_on(api: Api, device: NewDevice, logs: Logs, db: Database) -> None:
    """Retiring a device kills its token on the next request; retiring it again answers the same (api.md)."""
    one = device()
    accepted(one.heartbeat())
    answer = api.admin("DELETE", f"/v1/devices/{one.device_id}")
    retired = accepted(answer)
    assert retired["status"] == "retired"
    assert retired["retired_at"] is not None
    logs.expect(answer, "device.retire", device_id=one.device_id, alias=one.alias)
    logs.expect(answer, "db_operation", operation="update", entity="devices", keys={"device_id": one.device_id})
    refused(one.heartbeat(), 401, "token_invalid")
    refused(one.complete("some-dispatch"), 401, "token_invalid")
    again = api.admin("DELETE", f"/v1/devices/{one.device_id}")
    assert accepted(again) == retired
    assert not logs.of(again, "device.retire")
    assert db.value("select retired_at is not null from devices where device_id = %s", one.device_id)


@case("devices/004", "* 404", "* 422")
@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    "device_id,status,code",
    [(UNKNOWN, 404, "device_not_found"), ("D01", 422, "validation_error"), (UNKNOWN[:-1], 422, "validation_error")],
)
def test_an_unknown_device_is_refused(
    method: str, device_id: str, status: int, code: str, api: Api, logs: Logs, unchanged: Unchanged
) -> None:
    """An unknown device id is a 404, and what is no device id a 422; neither changes anything (000 A: 404, 422)."""
    with unchanged():
        answer = api.admin(method, f"/v1/devices/{device_id}")
    refused(answer, status, code)
    logs.expect(answer, "http.request", status=status)
    assert not logs.of(answer, "device.retire")


@case("devices/005", "registerDevice 200")
def test_a_retired_device_can_enrol_again(api: Api, device: NewDevice, logs: Logs, db: Database) -> None:
    """A fresh token for a retired device's alias brings the device back, but not its old token (api.md)."""
    one = device()
    accepted(api.admin("DELETE", f"/v1/devices/{one.device_id}"))
    again = device(one.alias)
    logs.expect(again.answer, "register.success", device_id=one.device_id, reenrolled=True)
    refused(one.complete("some-dispatch"), 401, "token_invalid")
    accepted(again.heartbeat())
    assert db.value("select retired_at from devices where device_id = %s", one.device_id) is None
