"""Whatever time a client sends is a moment in UTC or a ValueError, and a cursor is one that we made or a 422."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from nexmdm.http import pagination
from nexmdm.http.types import Moment
from nexmdm.kernel import times
from nexmdm.kernel.problems import Problem

MOMENT: TypeAdapter[Any] = TypeAdapter(Moment)
MOMENTS = st.datetimes(  # that a row can have
    times.EARLIEST.replace(tzinfo=None), times.LATEST.replace(tzinfo=None), timezones=st.just(UTC)
)
OFFSETS = st.integers(-(23 * 60 + 59), 23 * 60 + 59)  # minutes


def written(local: datetime, offset_min: int, digits: str = "") -> str:
    """As RFC 3339 writes it; strftime knows no year below 1000 with four digits."""
    sign, (hours, minutes) = "-" if offset_min < 0 else "+", divmod(abs(offset_min), 60)
    fraction = f".{digits}" if digits else ""
    return f"{local.isoformat(timespec='seconds')}{fraction}{sign}{hours:02}:{minutes:02}"


@given(st.from_regex(times.PATTERN, fullmatch=True) | st.text(max_size=40))
@example("0000-01-01T00:00:00+23:59")
@example("9999-12-31T00:00:60.999999999-23:59")
@example("2026-02-29T00:00:00Z")
@example("\uff12026-01-01T00:00:00Z")
def test_any_text_is_a_moment_of_utc_or_refused(text: str) -> None:
    try:
        moment = times.parse(text)
    except ValueError:
        with pytest.raises(ValidationError):
            MOMENT.validate_python(text)
        return
    assert re.fullmatch(times.PATTERN, text)
    assert moment.tzinfo is UTC
    assert times.EARLIEST <= moment <= times.LATEST
    assert times.parse(moment.isoformat()) == moment == MOMENT.validate_python(text)


@given(st.datetimes(), OFFSETS, st.text("0123456789", max_size=9))
@example(datetime(1, 1, 1), 1, "")  # noqa: DTZ001  # the zone is the other argument
@example(datetime(9999, 12, 31, 23, 59, 59), -1, "999999999")  # noqa: DTZ001
def test_a_time_that_there_is_is_kept_to_the_microsecond(local: datetime, offset_min: int, digits: str) -> None:
    local = local.replace(microsecond=0)
    moment = times.parse(written(local, offset_min, digits))
    try:
        exact = local.replace(tzinfo=timezone(timedelta(minutes=offset_min))).astimezone(UTC)
        exact += timedelta(microseconds=int(f"{digits:0<6}"[:6]))
    except OverflowError:
        exact = times.EARLIEST if offset_min > 0 else times.LATEST
    assert moment == min(max(exact, times.EARLIEST), times.LATEST)


@given(st.dates(date(1, 1, 4), date(9999, 12, 28)), OFFSETS)
def test_a_leap_second_is_the_second_after_it(day: date, offset_min: int) -> None:
    last = datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)
    text = written((last + timedelta(minutes=offset_min)).replace(tzinfo=None), offset_min)
    assert times.parse(text) == last
    assert times.parse(text[:17] + "60" + text[19:]) == last + timedelta(seconds=1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-11-20",
        "2026-11-20T10:05:03",
        "2026-11-20 10:05:03Z",
        "2026-11-20T24:00:00Z",
        "2026-11-20T10:05:61Z",
        "2026-11-20T10:05:60Z",
        "2026-11-20T23:59:60+00:01",
        "2026-11-20T10:05:03,5Z",
        "2026-11-20T10:05:03.Z",
        "2026-11-20T10:05:03.1234567890Z",
        "2026-11-20T10:05:03+0200",
        "2026-11-20T10:05:03+24:00",
        "2026-11-20T10:05:03Z\n",
        "2026-02-30T10:05:03Z",
        "0001-02-29T10:05:03Z",
        "+2026-11-20T10:05:03Z",
        "infinity",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        times.parse(text)


KEYS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "/v1/devices": (UUID, st.uuids()),
    "/v1/apk/builds": (int, st.integers(1, 2**63 - 1)),
    "/admin/dispatches": (str, st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)),
}


@given(st.data(), MOMENTS, st.sampled_from(sorted(KEYS)))
def test_a_cursor_brings_back_what_it_was_made_of(data: st.DataObject, at: datetime, path: str) -> None:
    parse, keys = KEYS[path]
    key = data.draw(keys)
    cursor = pagination._encode(path, at, key)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,200}", cursor)
    assert pagination._decode(path, cursor, parse) == (at, key)
    for other in KEYS.keys() - {path}:
        with pytest.raises(Problem):
            pagination._decode(other, cursor, KEYS[other][0])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30), st.lists, max_leaves=4
)


@given(
    st.sampled_from(sorted(KEYS)), st.text("ABCXYZabcxyz0189_-", max_size=200) | st.binary(max_size=150) | json_values
)
@example("/v1/apk/builds", ["/v1/apk/builds", "2026-11-20T10:00:00+00:00", float("inf")])
@example("/v1/devices", ["/v1/devices", "2026-11-20T10:00:00+00:00", 1])
@example("/v1/devices", ["/v1/devices", "0001-01-01T00:00:00+14:00", str(uuid4())])
@example("/v1/devices", ["/v1/devices", "0001-01-01T00:00:00+00:00", str(uuid4())])  # infinity to the driver
@example("/admin/dispatches", ["/admin/dispatches", "2026-11-20T10:00:00+00:00", "\ud800"])
def test_any_other_cursor_is_refused(path: str, content: Any) -> None:
    if isinstance(content, str):
        cursor = content
    else:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        cursor = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    with pytest.raises(Problem) as refused:
        pagination._decode(path, cursor, KEYS[path][0])
    assert refused.value.errors is not None
    assert refused.value.errors[0]["pointer"] == "/query/cursor"
