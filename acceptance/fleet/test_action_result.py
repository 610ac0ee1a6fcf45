"""POST /v1/action-result: a device reports how a command ended."""

from datetime import UTC, datetime

import pytest

from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.metrics import Metrics
from acceptance.system.system import Enrolled, NewDevice, System, Unchanged
from harness.waiting import eventually


def ping(system: System, device: Enrolled) -> str:
    """The request id of a command that FCM has taken."""
    api, request_id = system.api, system.ping(device)

    def sent() -> bool:
        return bool(accepted(api.admin("GET", f"/admin/dispatches/{request_id}"))["status"] == "sent")

    eventually(sent, within_s=5.0)
    return request_id


@case("action-result/001", "completeAction 200")
def test_a_result_completes_its_dispatch(
    system: System, api: Api, device: NewDevice, logs: Logs, db: Database, metrics: Metrics
) -> None:
    """A known request_id marks the dispatch complete with outcome, message and data (000 A: 200 action-result; 001)."""
    one = device()
    request_id = ping(system, one)
    told = {
        "request_id": request_id,
        "outcome": "error",
        "message": "The package is not installed",
        "data": {"attempts": 2, "launcher": "stock", "foreground": False},
        "finished_at": "2026-11-20T10:05:03Z",
    }
    with metrics.moves(
        {
            'nexmdm_action_results_total{outcome="error",replayed="false"}': 1,
            'nexmdm_dispatches_total{status="completed"}': 1,
        }
    ):
        answer = api.bearer(one.token, "POST", "/v1/action-result", json=told)
    body = accepted(answer)
    assert (body["request_id"], body["replayed"]) == (request_id, False)
    logs.expect(
        answer, "action_result.ingest", dispatch_request_id=request_id, device_id=one.device_id, outcome="error"
    )
    logs.expect(answer, "db_operation", operation="update", entity="fcm_dispatches", keys={"request_id": request_id})
    row = db.row("select * from fcm_dispatches where request_id = %s", request_id)
    assert (row["status"], row["outcome"], row["result_message"]) == ("completed", "error", told["message"])
    assert row["result_data"] == told["data"]
    assert row["finished_at"] == datetime(2026, 11, 20, 10, 5, 3, tzinfo=UTC)
    assert row["completed_at"] is not None
    shown = accepted(api.admin("GET", f"/admin/dispatches/{request_id}"))
    assert {name: shown[name] for name in told} == told
    assert shown["status"] == "completed"
    assert shown["completed_at"] == body["completed_at"]


@case("action-result/002", "completeAction 200")
def test_a_repeated_result_keeps_the_first(
    system: System, device: NewDevice, logs: Logs, db: Database, metrics: Metrics
) -> None:
    """A result posted twice is one completion; the repeat gets the first's time and replayed: true (000 A)."""
    one = device()
    request_id = ping(system, one)
    with metrics.moves(
        {
            'nexmdm_action_results_total{outcome="ok",replayed="false"}': 1,
            'nexmdm_action_results_total{outcome="error",replayed="true"}': 1,
            'nexmdm_dispatches_total{status="completed"}': 1,
        }
    ):
        first = accepted(one.complete(request_id, "ok", message="first"))
        answer = one.complete(request_id, "error", message="second")
    assert accepted(answer) == {**first, "replayed": True}
    logs.expect(answer, "action_result.replay", dispatch_request_id=request_id, device_id=one.device_id)
    logs.expect(answer, "db_operation", operation="idempotency_hit", entity="fcm_dispatches")
    assert not logs.of(answer, "action_result.ingest")
    row = db.row("select * from fcm_dispatches where request_id = %s", request_id)
    assert (row["outcome"], row["result_message"]) == ("ok", "first")
    steps = db.rows("select status from dispatch_transitions where request_id = %s", request_id)
    assert [step["status"] for step in steps].count("completed") == 1


ODD_TIMES = {
    "2026-11-20T12:05:03+02:00": "2026-11-20T10:05:03Z",
    "2026-11-20t10:05:03z": "2026-11-20T10:05:03Z",
    "2026-11-20T10:05:03.123456789Z": "2026-11-20T10:05:03.123456Z",
    "2016-12-31T23:59:60Z": "2017-01-01T00:00:00Z",
    "2017-01-01T05:29:60.5+05:30": "2017-01-01T00:00:00.5Z",
    "1970-01-01T00:00:04Z": "1970-01-01T00:00:04Z",
    "1970-01-01T00:00:00+08:00": "1969-12-31T16:00:00Z",
    "2099-12-31T23:59:59-12:00": "2100-01-01T11:59:59Z",
    "0000-02-29T00:00:00Z": "0001-01-02T00:00:00Z",
    "0001-01-01T00:00:00+14:00": "0001-01-02T00:00:00Z",
    "9999-12-31T09:59:60.999999999-14:00": "9999-12-30T23:59:59.999999Z",
}


@case("action-result/006", "completeAction 200", "getDispatch 200")
def test_an_odd_clock_loses_no_result(system: System, api: Api, device: NewDevice, logs: Logs, db: Database) -> None:
    """A finished_at with an offset, nanoseconds, a leap second or an odd year costs no result (issue 11)."""
    one = device()
    stored = "select to_char(finished_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') from fcm_dispatches"
    for given, kept in ODD_TIMES.items():
        request_id = system.ping(one)
        answer = one.complete(request_id, finished_at=given)
        assert accepted(answer)["replayed"] is False, given
        logs.expect(answer, "action_result.ingest", dispatch_request_id=request_id, device_id=one.device_id)
        shown = accepted(api.admin("GET", f"/admin/dispatches/{request_id}"))["finished_at"]
        seconds, _, fraction = kept[:-1].partition(".")
        assert db.value(f"{stored} where request_id = %s", request_id) == f"{seconds}.{fraction:0<6}", given
        assert shown.rstrip("0Z") == kept.rstrip("0Z"), given


@case("action-result/003", "completeAction 404")
def test_a_result_for_an_unknown_dispatch_is_refused(somebody: Enrolled, logs: Logs, unchanged: Unchanged) -> None:
    """An unknown request_id is a 404 and completes nothing; so is another device's (authorisation/004) (000 A: 404)."""
    with unchanged():
        answer = somebody.complete("no-such-dispatch")
    refused(answer, 404, "dispatch_not_found")
    logs.expect(answer, "http.request", status=404)
    assert not logs.of(answer, "action_result.ingest")


@case("action-result/005", "completeAction 422")
@pytest.mark.parametrize(
    "change,pointer",
    [
        ({"outcome": "done"}, "/body/outcome"),
        ({"request_id": "a b"}, "/body/request_id"),
        ({"message": "x" * 2001}, "/body/message"),
        ({"message": "a\x00b"}, "/body/message"),
        ({"finished_at": "yesterday"}, "/body/finished_at"),
        ({"finished_at": 1763632800}, "/body/finished_at"),
        ({"finished_at": "2026-11-20T10:05:03"}, "/body/finished_at"),
        ({"finished_at": "2026-02-29T10:05:03Z"}, "/body/finished_at"),
        ({"finished_at": "2026-11-20T10:05:60Z"}, "/body/finished_at"),
        ({"data": {"nested": {}}}, "/body/data"),
        ({"data": {"list": []}}, "/body/data"),
        ({"data": {"bad key": 1}}, "/body/data"),
        ({"data": {f"k{n}": n for n in range(33)}}, "/body/data"),
        ({"more": 1}, "/body"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_result_that_breaks_the_schema_is_refused(
    change: dict[str, object],
    pointer: str,
    api: Api,
    somebody: Enrolled,
    logs: Logs,
    unchanged: Unchanged,
) -> None:
    """Every schema violation of a result is a 422 that points at the fault and completes nothing (000 A: 422)."""
    with unchanged():
        answer = api.bearer(
            somebody.token, "POST", "/v1/action-result", json={"request_id": "some-dispatch", "outcome": "ok", **change}
        )
    found = pointers(refused(answer, 422, "validation_error"))
    assert all(one.startswith(pointer) for one in found), found
    assert not logs.of(answer, "action_result.ingest")


@case("action-result/007", "completeAction 422")
def test_a_refused_result_names_its_device(
    api: Api, somebody: Enrolled, logs: Logs, metrics: Metrics, unchanged: Unchanged
) -> None:
    """The log and a metric say which device sent the result that was refused, and for which member (issue 11)."""
    refusals = 'nexmdm_device_bodies_refused_total{route="/v1/action-result",pointer="%s"}'
    sent = {"request_id": "some-dispatch", "outcome": "done", "data": {"status": []}, "secret-4711": 1}
    with (
        unchanged(),
        metrics.moves({refusals % f"/body{one}": 1 for one in ("", "/outcome", "/data")}),
    ):
        answer = api.bearer(somebody.token, "POST", "/v1/action-result", json=sent)
    found = pointers(refused(answer, 422, "validation_error"))
    line = logs.expect(answer, "device.body_refused", device_id=somebody.device_id, code="validation_error")
    assert set(line["pointers"]) == found
    assert "4711" not in str(line)
