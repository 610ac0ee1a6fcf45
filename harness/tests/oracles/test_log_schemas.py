"""Log lines that are not as their schema says must be found."""

import jsonschema_rs
import pytest

from harness.oracles import log_schemas

LINE = {
    "ts": "2026-11-20T01:02:03.123456Z",
    "level": "INFO",
    "event": "http.request",
    "request_id": "r-1",
    "route": "/v1/devices/{device_id}",
    "method": "GET",
    "status": 200,
    "duration_ms": 1.5,
    "ip": "127.0.0.1",
}
UUID = "0199c0de-0000-7000-8000-0000000000d1"


def test_a_good_line_passes() -> None:
    assert log_schemas.faults(LINE) == []


@pytest.mark.parametrize("route", ["/api/zones/{zone_id}", "/api/nfs/write", "/api/v2/events/replay", "/healthz"])
def test_a_route_is_a_template(route: str) -> None:
    assert log_schemas.faults({**LINE, "route": route}) == []


@pytest.mark.parametrize(
    "change",
    [
        {"event": "http.reqest"},
        {"event": None},
        {"level": "info"},
        {"status": "200"},
        {"status": 600},
        {"ts": "2026-11-20 01:02:03"},
        {"request_id": "a b"},
        {"route": f"/v1/devices/{UUID}"},
        {"route": "/api/zones/z-0199c0de"},
        {"ip": "localhost!"},
        {"token": "x"},
        {"event": "internal.error", "level": "ERROR", "error": "ValueError"},
        {"event": "log.lost", "level": "ERROR", "lost": {"bulk": 1}},
    ],
)
def test_a_wrong_field_is_found(change: dict[str, object]) -> None:
    assert log_schemas.faults({**LINE, **change})


@pytest.mark.parametrize("name", [name for name in LINE if name != "event"])
def test_a_missing_field_is_found(name: str) -> None:
    assert log_schemas.faults({key: value for key, value in LINE.items() if key != name})


def test_every_schema_is_one_and_closes_its_lines() -> None:
    found = log_schemas.documents()
    assert len(found) == len(list(log_schemas.SCHEMAS.rglob("*.schema.json"))), "an event has two"
    shared = set(found["common"]["$defs"]["line"]["properties"])
    for name, document in found.items():
        jsonschema_rs.meta.validate(document)
        if name != "common":
            assert document["unevaluatedProperties"] is False, name
            assert document["properties"]["event"]["const"] == name
            assert set(document.get("required", [])) <= set(document["properties"]) | shared


def test_what_a_terminal_would_obey_is_found() -> None:
    clean = '{"alias": "caf\u00e9 \U0001f600"}'
    lines = [clean, '{"a": "\x1b[2J"}', "a\rb", '{"a": "\u009b31m\u202e"}', "a\u2028b", ""]
    assert list(log_schemas.unprintable("\n".join(lines))) == [
        "line 2: control characters ['U+001B']",
        "line 3: control characters ['U+000D']",
        "line 4: control characters ['U+009B', 'U+202E']",
        "line 5: control characters ['U+2028']",
    ]
