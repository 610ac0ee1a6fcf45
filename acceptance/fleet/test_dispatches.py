"""GET /admin/dispatches and /admin/dispatches/{request_id}: what became of commands."""

import pytest

from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.system import NewDevice, System, Unchanged
from harness.waiting import eventually


@case("dispatches/001", "getDispatch 200")
def test_a_dispatch_shows_every_transition(api: Api, device: NewDevice, logs: Logs, db: Database) -> None:
    """A dispatch shows each transition with its time, from queued to completed, and one chain of ids (001; api.md)."""
    one = device()
    command = api.command({"device_id": one.device_id, "action": "ping"})
    request_id = accepted(command)["request_id"]
    logs.wait("dispatch.sent", dispatch_request_id=request_id)
    result = one.complete(request_id)
    answer = api.admin("GET", f"/admin/dispatches/{request_id}")
    shown = accepted(answer)
    steps = shown["transitions"]
    assert [step["status"] for step in steps if step["status"] != "sending"] == ["queued", "sent", "completed"]
    assert [step["at"] for step in steps] == sorted(step["at"] for step in steps)
    [sent] = [step for step in steps if step["status"] == "sent"]
    assert sent["http_code"] == 200
    assert sent["latency_ms"] > 0
    assert shown["created_at"] <= shown["sent_at"] <= shown["completed_at"] <= shown["expires_at"]
    stored = db.rows("select status from dispatch_transitions where request_id = %s order by id", request_id)
    assert [step["status"] for step in steps] == [step["status"] for step in stored]
    logs.expect(answer, "http.request", status=200)
    chain = [line["event"] for line in logs.since() if line.get("dispatch_request_id") == request_id]
    assert chain == ["dispatch.request", "dispatch.sent", "action_result.ingest"], chain
    logs.expect(result, "action_result.ingest", dispatch_request_id=request_id)


@case("dispatches/002", "listDispatches 200")
def test_filters_pick_dispatches(system: System, api: Api, device: NewDevice, logs: Logs) -> None:
    """device_id, action, status and command_request_id each pick exactly what they name, newest first (api.md)."""
    one, other = device(), device()
    first = accepted(api.command({"device_id": one.device_id, "action": "ping"}))["request_id"]
    second = accepted(
        api.command(
            {
                "device_ids": [one.device_id, other.device_id],
                "action": "launch_app",
                "params": {"package_name": "com.example.app"},
            }
        )
    )
    launched = {item["device_id"]: item["request_id"] for item in second["dispatches"]}
    eventually(system.settled, within_s=5.0)
    accepted(one.complete(first))
    for params, expected in [
        ({"device_id": one.device_id}, [launched[one.device_id], first]),
        ({"device_id": one.device_id, "action": "ping"}, [first]),
        ({"device_id": one.device_id, "status": "completed"}, [first]),
        ({"device_id": one.device_id, "status": "sent"}, [launched[one.device_id]]),
        ({"device_id": other.device_id, "action": "ping"}, []),
        ({"command_request_id": first}, [first]),
    ]:
        answer = api.admin("GET", "/admin/dispatches", params=params)
        assert [item["request_id"] for item in accepted(answer)["items"]] == expected, params
        logs.expect(answer, "http.request", status=200)
    listed = accepted(api.admin("GET", "/admin/dispatches", params={"command_request_id": second["request_id"]}))
    assert {item["request_id"] for item in listed["items"]} == set(launched.values())
    assert all(item["params"] == {"package_name": "com.example.app"} for item in listed["items"])


@case("dispatches/003", "getDispatch 404", "getDispatch 422")
@pytest.mark.parametrize(
    "request_id,status,code",
    [("no-such-dispatch", 404, "dispatch_not_found"), ("no%20id", 422, "validation_error")],
)
def test_an_unknown_dispatch_is_refused(
    request_id: str, status: int, code: str, api: Api, logs: Logs, unchanged: Unchanged
) -> None:
    """An unknown dispatch is a 404 dispatch_not_found, and what is no request id a 422 (000 A: 404, 422)."""
    with unchanged():
        answer = api.admin("GET", f"/admin/dispatches/{request_id}")
    refused(answer, status, code)
    logs.expect(answer, "http.request", status=status)


@case("dispatches/004", "listDispatches 422")
@pytest.mark.parametrize(
    "params", [{"status": "lost"}, {"action": "reboot"}, {"device_id": "D01"}, {"command_request_id": "a b"}], ids=str
)
def test_a_filter_that_breaks_the_schema_is_refused(
    params: dict[str, str], api: Api, logs: Logs, unchanged: Unchanged
) -> None:
    """A filter outside its schema is a 422 that points at the parameter (000 A: 422)."""
    with unchanged():
        answer = api.admin("GET", "/admin/dispatches", params=params)
    assert pointers(refused(answer, 422, "validation_error")) == {f"/query/{next(iter(params))}"}
    logs.expect(answer, "http.request", status=422)
