"""Log lines that are not as their schema says must be found, and so must secrets."""

import json

import jsonschema_rs
import pytest

from acceptance import log_lines

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
    assert log_lines.faults(LINE) == []


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
        {"ip": "localhost!"},
        {"token": "x"},
        {"event": "internal.error", "level": "ERROR", "error": "ValueError"},
    ],
)
def test_a_wrong_field_is_found(change: dict[str, object]) -> None:
    assert log_lines.faults({**LINE, **change})


@pytest.mark.parametrize("name", [name for name in LINE if name != "event"])
def test_a_missing_field_is_found(name: str) -> None:
    assert log_lines.faults({key: value for key, value in LINE.items() if key != name})


def test_every_schema_is_one_and_closes_its_lines() -> None:
    for path in log_lines.SCHEMAS.glob("*.schema.json"):
        document = json.loads(path.read_text())
        jsonschema_rs.meta.validate(document)
        if path.name != "common.schema.json":
            assert document["unevaluatedProperties"] is False, path.name
            assert document["properties"]["event"]["const"] == path.name.removesuffix(".schema.json")
            assert set(document["required"]) <= set(document["properties"])


@pytest.mark.parametrize(
    "secret",
    ["nxe_" + "A" * 43, f"nxd_{'0' * 32}_" + "b" * 43, "-----BEGIN PRIVATE KEY-----", "the-admin-key-of-this-run"],
    ids=["enrolment token", "device token", "private key", "known secret"],  # the values would stand in junit.xml
)
def test_a_secret_is_found_and_not_repeated(secret: str) -> None:
    [found] = log_lines.leaks(f"fine\nx {secret} y\nfine", ["the-admin-key-of-this-run"])
    assert "line 2" in found
    assert secret not in found


def test_masked_text_is_no_secret() -> None:
    assert log_lines.leaks("nxe_*** nxd_short", [""]) == []
