"""Bodies: raw bytes become a strict shape or the documented refusal, and no refusal quotes its input."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexmdm.fleet.commands import CommandBody
from nexmdm.fleet.heartbeats import Heartbeat
from nexmdm.http.json_body import JsonBody
from nexmdm.kernel.problems import Problem

HEARTBEAT = JsonBody[Heartbeat](Heartbeat)
DEVICE = "01a1f85c-3a3d-7351-80c2-175a2d1e2328"


@pytest.mark.parametrize(
    "raw,code",
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b'{"status":"ok","temp_c":NaN}', "malformed_json"),
        (b'{"status":"ok","x":Infinity}', "malformed_json"),
        (b'{"status":"ok","agent_version":"\\ud800"}', "malformed_json"),
        ('{"status":"ok"}'.encode("utf-16"), "malformed_json"),
        (b'{"status":"\xff"}', "malformed_json"),
        (b"[" * 100_000, "malformed_json"),
        (b'{"status":"ok","temp_c":1e999}', "validation_error"),
        (b'{"status":"ok","uptime_s":298.5}', "validation_error"),
        (b'{"status":"ok","uptime_s":"298"}', "validation_error"),
        (b'{"status":"ok","battery_pct":true}', "validation_error"),
        (b'{"status":"ok","agent_version":null}', "validation_error"),
        (b'{"status":"ok","unknown":1}', "validation_error"),
        (b"[]", "validation_error"),
        (b"null", "validation_error"),
    ],
)
def test_a_bad_body_is_refused_with_its_code(raw: bytes, code: str) -> None:
    with pytest.raises(Problem) as refused:
        HEARTBEAT.parse(raw)
    assert refused.value.code == code


def test_an_integer_may_be_written_with_a_zero_fraction() -> None:
    assert HEARTBEAT.parse(b'{"status":"ok","uptime_s":298.0}').uptime_s == 298


@pytest.mark.parametrize(
    "body,pointer",
    [
        ({"action": "planted-value", "device_id": DEVICE}, "/body"),
        ({"action": "ping", "device_id": "planted-value"}, "/body/device_id"),
        ({"action": "ping", "device_id": DEVICE, "planted-value": 1}, "/body"),
        ({"action": "ping", "device_id": DEVICE, "request_id": "planted value"}, "/body/request_id"),
        ({"action": "launch_app", "device_id": DEVICE, "params": {"package_name": "planted-value"}}, "package_name"),
    ],
)
def test_a_refusal_points_at_the_fault_and_never_quotes_it(body: dict[str, object], pointer: str) -> None:
    with pytest.raises(Problem) as refused:
        JsonBody[object](CommandBody).parse(json.dumps(body).encode())
    assert refused.value.errors is not None
    assert "planted" not in json.dumps(refused.value.errors)
    assert refused.value.errors[0]["pointer"].endswith(pointer)


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text() | st.floats(), st.lists).map(str).map(str.encode))
def test_no_bytes_raise_anything_but_a_problem(raw: bytes) -> None:
    with suppress(Problem):
        HEARTBEAT.parse(raw)
