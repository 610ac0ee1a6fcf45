"""Request targets as bytes: queries and path parameters that decode to something odd. Sends no bodies."""

import base64
import json
import re
from datetime import datetime
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acceptance.http.test_pages import LISTS
from acceptance.suite.case import case
from acceptance.system.api import Api
from acceptance.system.logs import Logs
from acceptance.system.match import pointers, refused
from acceptance.system.openapi import Contract
from acceptance.system.system import Unchanged

TIME: str = Contract.load().document.content["components"]["schemas"]["ClientTime"]["pattern"]
# In a second or two, the same in each run; the fixtures that the examples share hold nothing of one example.
fuzzed = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
ALIASED = ("/v1/devices", "/v1/enroll-tokens", "/v1/scripts/enroll.sh", "/v1/scripts/enroll.cmd")
ALIASES = ["%00", "a%00b", "%ff", "%ED%A0%80", "a%0Ab", "", "%2e", "a" * 65, "a%0A", "a%20b", "..%2f"]


@case("raw/021", "* 422")
@pytest.mark.parametrize("alias", ALIASES, ids=repr)
def test_an_alias_of_another_shape_is_refused(alias: str, api: Api, logs: Logs, unchanged: Unchanged) -> None:
    """An alias of another shape is a 422, also where it only filters, also for a newline at its end (api.md)."""
    with unchanged():
        answers = [api.admin("GET", f"{path}?alias={alias}") for path in ALIASED]
    for answer in answers:
        refused(answer, 422, "validation_error")
        logs.expect(answer, "http.request", status=422)


@case("raw/022", "getDevice 422", "retireDevice 422")
@pytest.mark.parametrize(
    "device_id",
    [
        "0199C0DE-0000-7000-8000-0000000000D1",
        "0199c0de000070008000000000000001",
        "%7B0199c0de-0000-7000-8000-0000000000d1%7D",
        "0199c0de-0000-7000-8000-0000000000d1%0A",
        "%00",
        "%ff",
        "1",
        "x" * 4000,
    ],
    ids=lambda value: value[:40],
)
def test_a_device_id_has_one_spelling(device_id: str, api: Api, logs: Logs, unchanged: Unchanged) -> None:
    """Only the canonical lower-case form of a UUID names a device; all else is a 422 that names the part (api.md)."""
    with unchanged():
        answers = [api.admin(method, f"/v1/devices/{device_id}") for method in ("GET", "DELETE")]
    for answer in answers:
        assert pointers(refused(answer, 422, "validation_error")) == {"/path/device_id"}
        logs.expect(answer, "http.request", status=422)


@case("raw/028", "listDevices 200", "listDevices 422")
@fuzzed
@given(text=st.from_regex(TIME, fullmatch=True) | st.text(max_size=40))
def test_any_time_is_taken_or_refused(text: str, api: Api, logs: Logs) -> None:
    """Whatever stands for a time is 200 or 422, by the contract's pattern and the calendar; never a 500 (issue 11)."""
    answer = api.admin("GET", f"/v1/devices?limit=1&stale_since={quote(text, safe='')}")
    logs.expect(answer, "http.request", status=answer.status)
    found: Any = re.fullmatch(TIME, text)
    if answer.status == 200:
        assert found
        return
    assert pointers(refused(answer, 422, "validation_error")) == {"/query/stale_since"}
    assert found is None or found[4] == "60" or found[2] in ("29", "30", "31"), "no time that there is"


@case("raw/029", "* 422")
@pytest.mark.parametrize("path", LISTS)
@fuzzed
@given(
    moment=st.from_regex(TIME, fullmatch=True) | st.text(max_size=30) | st.datetimes().map(datetime.isoformat),
    key=st.text(max_size=40) | st.integers().map(str) | st.uuids().map(str) | st.none() | st.floats(),
    named=st.booleans(),
)
def test_any_cursor_is_taken_or_refused(path: str, moment: str, key: object, named: bool, api: Api, logs: Logs) -> None:
    """A made-up cursor is a 422 or gives a page, whatever its time and key are; never a 500 (issue 11)."""
    members = [*([path] if named else []), moment, key]
    cursor = base64.urlsafe_b64encode(json.dumps(members).encode()).decode().rstrip("=")[:200]
    answer = api.admin("GET", f"{path}?limit=1&cursor={cursor}")
    logs.expect(answer, "http.request", status=answer.status)
    if answer.status != 200 or not named:  # a cursor that does not name its list is of none
        assert pointers(refused(answer, 422, "validation_error")) == {"/query/cursor"}
