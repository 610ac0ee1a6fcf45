"""POST /v1/heartbeat: a device reports its health. Many at once, and several workers, are in test_races.py."""

from typing import Any

import pytest

from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.database import Database
from acceptance.system.logs import Logs
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.metrics import Metrics
from acceptance.system.system import Enrolled, NewDevice, Unchanged
from harness.waiting import eventually

VITALS = {
    "status": "warn",
    "battery_pct": 17,
    "plugged": False,
    "temp_c": 31.5,
    "network_type": "wifi",
    "signal_dbm": -61,
    "uptime_s": 86400,
    "ram_used_mb": 1840,
    "unity_pkg_version": "2.3.1",
    "unity_running": True,
    "agent_version": "1.4.2",
}


def beat(api: Api, device: Enrolled, **body: Any) -> Any:
    return api.bearer(device.token, "POST", "/v1/heartbeat", json=body or {"status": "ok"})


def early_in_a_bucket(db: Database) -> None:
    """So that requests that follow at once fall into one bucket of 10 seconds."""
    eventually(lambda: db.value("select extract(epoch from now()) % 10 < 8"), within_s=4.0)


@case("heartbeat/001", "recordHeartbeat 200")
def test_a_heartbeat_is_stored_and_the_device_seen(
    api: Api, device: NewDevice, logs: Logs, db: Database, metrics: Metrics
) -> None:
    """A heartbeat is durable with every field, and moves last_seen and last_status (000 A: 200 heartbeat; 001)."""
    one = device()
    with metrics.moves({'nexmdm_heartbeats_total{result="ingested"}': 1}):
        answer = beat(api, one, **VITALS)
    body = accepted(answer)
    assert body["ok"] is True
    assert body["deduplicated"] is False
    assert 60 <= body["next_heartbeat_s"] <= 240
    row = db.row("select * from device_heartbeats where device_id = %s", one.device_id)
    assert {name: row[name] for name in VITALS} == VITALS
    assert row["ip"] is not None
    assert row["bucket"].timestamp() % 10 == 0
    assert 0 <= (row["ts"] - row["bucket"]).total_seconds() < 10
    seen = db.row("select * from device_status where device_id = %s", one.device_id)
    assert (seen["last_status"], seen["last_seen"]) == ("warn", row["ts"])
    line = logs.expect(answer, "heartbeat.ingest", device_id=one.device_id, status="warn")
    assert line["bucket"].startswith(row["bucket"].strftime("%Y-%m-%dT%H:%M:%S"))


@case("heartbeat/002", "recordHeartbeat 200")
def test_three_heartbeats_in_ten_seconds_are_one_row(
    api: Api, device: NewDevice, logs: Logs, db: Database, metrics: Metrics
) -> None:
    """Three heartbeats in one bucket of 10 s leave one row and count as two duplicates (000 A: dedup)."""
    one = device()
    early_in_a_bucket(db)
    with metrics.moves(
        {'nexmdm_heartbeats_total{result="deduplicated"}': 2, 'nexmdm_heartbeats_total{result="ingested"}': 1}
    ):
        answers = [beat(api, one) for _ in range(3)]
    assert [accepted(answer)["deduplicated"] for answer in answers] == [False, True, True]
    assert db.value("select count(*) from device_heartbeats where device_id = %s", one.device_id) == 1
    logs.expect(answers[0], "heartbeat.ingest", device_id=one.device_id)
    for answer in answers[1:]:
        logs.expect(answer, "heartbeat.dedup_hit", device_id=one.device_id)
        assert not logs.of(answer, "heartbeat.ingest")


@case("heartbeat/003", "recordHeartbeat 200")
def test_a_duplicate_still_moves_last_seen_and_last_status(
    api: Api, device: NewDevice, logs: Logs, db: Database
) -> None:
    """A deduplicated heartbeat stores no row, yet last_seen and last_status follow it (api.md)."""
    one = device()
    early_in_a_bucket(db)
    accepted(beat(api, one, status="ok"))
    before = db.row("select * from device_status where device_id = %s", one.device_id)
    answer = beat(api, one, status="error")
    assert accepted(answer)["deduplicated"] is True
    logs.expect(answer, "heartbeat.dedup_hit", device_id=one.device_id)
    after = db.row("select * from device_status where device_id = %s", one.device_id)
    assert after["last_status"] == "error"
    assert after["last_seen"] > before["last_seen"]
    shown = accepted(api.admin("GET", f"/v1/devices/{one.device_id}"))
    assert shown["last_status"] == "error"


@case("heartbeat/004", "recordHeartbeat 200")
def test_a_new_fcm_token_replaces_the_old_one(api: Api, device: NewDevice, logs: Logs, db: Database) -> None:
    """A heartbeat with an fcm_token replaces the device's; one without leaves it alone (api.md)."""
    one = device()
    first = beat(api, one)
    accepted(first)  # the device is known by now: the next one could take the fast lane
    answer = beat(api, one, status="ok", fcm_token="fcm:renewed-0123456789")
    accepted(answer)
    accepted(beat(api, one))
    accepted(beat(api, one, status="ok", agent_version="1.5.0"))  # writes the same row
    logs.expect(first, "heartbeat.ingest", device_id=one.device_id)
    logs.expect(answer, "db_operation", operation="update", entity="devices", keys={"device_id": one.device_id})
    row = db.row("select * from devices where device_id = %s", one.device_id)
    assert (row["fcm_token"], row["fcm_token_dead_at"]) == ("fcm:renewed-0123456789", None)


@case("heartbeat/005", "recordHeartbeat 401")
@pytest.mark.parametrize(
    "authorization,code",
    [
        pytest.param([], "token_missing", id="no header"),
        pytest.param(["Token {token}"], "token_invalid", id="another scheme"),
        pytest.param(["Bearer nxd_short"], "token_invalid", id="malformed"),
        pytest.param(["Bearer {token}x"], "token_invalid", id="one character more"),
        pytest.param(["Bearer nxd_{hex}_" + "A" * 54], "token_invalid", id="the right device with a wrong secret"),
        pytest.param(["Bearer nxd_" + "0" * 32 + "_" + "A" * 54], "token_invalid", id="an unknown device"),
        pytest.param(["Bearer {token}", "Bearer {token}"], "token_invalid", id="two headers"),
    ],
)
def test_a_missing_or_wrong_device_token_is_refused(
    authorization: list[str],
    code: str,
    api: Api,
    somebody: Enrolled,
    logs: Logs,
    metrics: Metrics,
    unchanged: Unchanged,
) -> None:
    """Without exactly one good device token there is no heartbeat (000 A: 401)."""
    headers = [
        ("Authorization", value.format(token=somebody.token, hex=somebody.device_id.replace("-", "")))
        for value in authorization
    ]
    with unchanged(), metrics.moves({f'nexmdm_auth_failures_total{{code="{code}"}}': 1}):
        answer = api.request("POST", "/v1/heartbeat", headers=headers, json={"status": "ok"})
    refused(answer, 401, code)
    logs.expect(answer, "sec.auth.fail", code=code)


@case("heartbeat/006", "recordHeartbeat 422")
@pytest.mark.parametrize(
    "body,pointer",
    [
        ({}, "/body/status"),
        ({"status": "fine"}, "/body/status"),
        ({"status": ["ok"]}, "/body/status"),
        ({"status": "ok", "battery_pct": 101}, "/body/battery_pct"),
        ({"status": "ok", "battery_pct": 55.5}, "/body/battery_pct"),
        ({"status": "ok", "battery_pct": None}, "/body/battery_pct"),
        ({"status": "ok", "plugged": "yes"}, "/body/plugged"),
        ({"status": "ok", "temp_c": -101}, "/body/temp_c"),
        ({"status": "ok", "network_type": "5g"}, "/body/network_type"),
        ({"status": "ok", "signal_dbm": 1}, "/body/signal_dbm"),
        ({"status": "ok", "uptime_s": -1}, "/body/uptime_s"),
        ({"status": "ok", "uptime_s": 4294967296}, "/body/uptime_s"),
        ({"status": "ok", "extra": 1}, "/body"),
        ({"status": "ok", "ram_used_mb": 10**400}, "/body/ram_used_mb"),
        ([], "/body"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_vitals_that_break_the_schema_are_refused(
    body: object, pointer: str, api: Api, somebody: Enrolled, logs: Logs, unchanged: Unchanged
) -> None:
    """Every schema violation of a heartbeat is a 422 that points at the member and stores nothing (000 A: 422)."""
    with unchanged():
        answer = api.bearer(somebody.token, "POST", "/v1/heartbeat", json=body)
    assert pointers(refused(answer, 422, "validation_error")) == {pointer}
    assert not logs.of(answer, "heartbeat.ingest")


@case("heartbeat/009", "recordHeartbeat 422", "recordHeartbeat 400", "recordHeartbeat 413", "recordHeartbeat 415")
@pytest.mark.parametrize(
    "raw,media_type,status,code,found",
    [
        (b'{"status": "ok", "battery_pct": 101}', "json", 422, "validation_error", ["/body/battery_pct"]),
        (b'{"status": "ok", "signal_dbm": 2147483647}', "json", 422, "validation_error", ["/body/signal_dbm"]),
        (b'{"status": "ok", "uptime_s": -5}', "json", 422, "validation_error", ["/body/uptime_s"]),
        (
            b'{"uptime_s": -5, "zz4711": 1}',
            "json",
            422,
            "validation_error",
            ["/body", "/body/status", "/body/uptime_s"],
        ),
        (b'{"status": NaN}', "json", 400, "malformed_json", ["/body"]),
        (b"{}", "cbor", 415, "unsupported_media_type", ["/body"]),
        (b" " * 65537, "json", 413, "payload_too_large", ["/body"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_refused_heartbeat_names_its_device(
    raw: bytes,
    media_type: str,
    status: int,
    code: str,
    found: list[str],
    api: Api,
    somebody: Enrolled,
    logs: Logs,
    metrics: Metrics,
    unchanged: Unchanged,
) -> None:
    """The log and a metric say which device sent what was refused, and for which members: it is not dead (issue 11)."""
    refusals = 'nexmdm_device_bodies_refused_total{route="/v1/heartbeat",pointer="%s"}'
    headers = {"Content-Type": f"application/{media_type}"}
    with unchanged(), metrics.moves({refusals % pointer: 1 for pointer in found}):
        answer = api.bearer(somebody.token, "POST", "/v1/heartbeat", content=raw, headers=headers)
    refused(answer, status, code)
    line = logs.expect(answer, "device.body_refused", device_id=somebody.device_id, code=code, level="WARNING")
    assert sorted(line["pointers"]) == found
    assert "4711" not in str(line), "a value, or a name that the device made up"


@case("heartbeat/007", "recordHeartbeat 200")
def test_whole_numbers_may_be_written_as_floats(api: Api, device: NewDevice, logs: Logs, db: Database) -> None:
    """298.0 is an integer in JSON Schema, so a heartbeat may say so (libraries.md: strict int)."""
    one = device()
    raw = b'{"status": "ok", "battery_pct": 50.0, "uptime_s": 2.98e2, "temp_c": 30}'
    answer = api.bearer(one.token, "POST", "/v1/heartbeat", content=raw, headers={"Content-Type": "application/json"})
    accepted(answer)
    logs.expect(answer, "heartbeat.ingest", device_id=one.device_id)
    row = db.row("select * from device_heartbeats where device_id = %s", one.device_id)
    assert (row["battery_pct"], row["uptime_s"], row["temp_c"]) == (50, 298, 30)


@case("heartbeat/008", "recordHeartbeat 200")
def test_a_fleet_does_not_march_in_step(api: Api, somebody: Enrolled, logs: Logs) -> None:
    """next_heartbeat_s varies from answer to answer, by a tenth of the interval at most (api.md: jittered)."""
    answers = [beat(api, somebody) for _ in range(8)]
    pauses = [accepted(answer)["next_heartbeat_s"] for answer in answers]
    assert len(set(pauses)) > 1, pauses
    assert max(pauses) - min(pauses) <= 0.2 * 120, pauses
    logs.expect(answers[-1], "http.request", status=200)
