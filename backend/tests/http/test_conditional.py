"""Preconditions as RFC 9110 evaluates them: what the acceptance cases do not vary, and what a value may cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from time import perf_counter

import pytest
from starlette.datastructures import Headers

from nexmdm.http.conditional import Validators, described
from nexmdm.kernel.problems import Problem

CURRENT = Validators('"abc"', datetime(2026, 11, 20, 10, 0, 0, 999_999, tzinfo=UTC))


def headers(**fields: str) -> Headers:
    return Headers({name.replace("_", "-"): value for name, value in fields.items()})


def is_failed(**fields: str) -> bool:
    try:
        CURRENT.is_not_modified(headers(**fields))
    except Problem as problem:
        return problem.code == "precondition_failed"
    return False


@pytest.mark.parametrize("zone_h", [-11, 0, 14])
def test_the_date_is_in_gmt_and_to_the_second(zone_h: int) -> None:
    moment = CURRENT.modified.astimezone(timezone(timedelta(hours=zone_h)))
    assert Validators('"abc"', moment).last_modified == "Fri, 20 Nov 2026 10:00:00 GMT"
    assert not is_failed(if_unmodified_since="Fri, 20 Nov 2026 10:00:00 GMT")
    assert is_failed(if_unmodified_since="Fri, 20 Nov 2026 09:59:59 GMT")


@pytest.mark.parametrize(
    "date",
    [
        "Friday, 20-Nov-26 09:59:59 GMT",
        "Fri Nov 20 09:59:59 2026",
        "Sun Nov  6 08:49:37 1994",
    ],
)
def test_the_old_forms_of_dates_are_understood(date: str) -> None:
    assert is_failed(if_unmodified_since=date)


@pytest.mark.parametrize(
    "date",
    [
        "",
        "0",
        "Fri, 20 Nov 2026 09:59:59",
        "Fri, 20 Nov 2026 09:59:59 UTC",
        "Fri, 20 Nov 2026 09:59:60 GMT",
        "Fri, 20 Nov 0000 09:59:59 GMT",
        "Fri, 20 Nov 99999 09:59:59 GMT",
        "2026-11-20T09:59:59Z",
        "Fri, 20 Nov 2026 09:59:59 GMT, Fri, 20 Nov 2026 09:59:59 GMT",
    ],
)
def test_what_is_no_date_is_ignored(date: str) -> None:
    assert not is_failed(if_unmodified_since=date)
    assert not CURRENT.is_not_modified(headers(if_modified_since=date))


def test_a_tag_in_latin_1_and_one_that_ends_another_are_not_ours() -> None:
    assert not is_failed(if_match='"\xe9", "abc"')
    assert is_failed(if_match='"xabc"')
    assert is_failed(if_match='"x"abc"')


@pytest.mark.parametrize("unit", [",", " ,\t", '"a",', '"a" ', 'W/"', '"a",, W/"b" ,', "\t"])
def test_a_long_list_costs_no_more_than_its_length(unit: str) -> None:
    value = unit * (65_536 // len(unit)) + "x"
    begun = perf_counter()
    assert is_failed(if_match=value)
    assert perf_counter() - begun < 0.5


def test_head_describes_no_ranges() -> None:
    names = {parameter["name"] for parameter in described()["parameters"]}
    assert names - {parameter["name"] for parameter in described(head=True)["parameters"]} == {"If-Range", "Range"}
