"""The one place that parses a time that a client sends. It asks no clock."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

# RFC 3339, section 5.6, with nanoseconds at the finest; which days and leap seconds there are the calendar tells.
PATTERN: Final = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)"
    r"(\.[0-9]{1,9})?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
# A day inside what a datetime holds: other time zones can show them, and asyncpg takes the very first and the very last
# moment for infinity.
EARLIEST: Final = datetime(1, 1, 2, tzinfo=UTC)
LATEST: Final = datetime(9999, 12, 30, 23, 59, 59, 999_999, UTC)

_FORM: Final = re.compile(PATTERN)
_FIELDS: Final = ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))  # from year to second
_FRACTION, _ZONE = 5, 6  # groups of PATTERN
_CYCLE_YEARS, _CYCLE = 400, timedelta(days=146_097)  # after which the calendar repeats itself


def parse(text: str) -> datetime:
    """The moment in UTC and whole microseconds; a leap second is the second after it.

    What lies before `EARLIEST` or after `LATEST`, as any offset and year 0 may, becomes that.

    Raises:
        ValueError: not RFC 3339, or no day or leap second that can be.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise ValueError("not an RFC 3339 date-time")
    year, month, day, hour, minute, second = (int(text[start:end]) for start, end in _FIELDS)
    early = year < 5000
    # A cycle away from its end of the calendar no sum overflows, and year 0 is a year.
    local = datetime(year + (_CYCLE_YEARS if early else -_CYCLE_YEARS), month, day, hour, minute, tzinfo=UTC)
    microsecond = int((form[_FRACTION] or ".")[1:7].ljust(6, "0"))
    minute_began = local - _offset(form[_ZONE])
    if second == 60 and (minute_began.hour, minute_began.minute) != (23, 59):
        raise ValueError("a leap second is the last of a day in UTC")
    moment = minute_began + timedelta(seconds=second, microseconds=microsecond)
    return max(moment, EARLIEST + _CYCLE) - _CYCLE if early else min(moment, LATEST - _CYCLE) + _CYCLE


def _offset(zone: str) -> timedelta:
    if zone in "Zz":
        return timedelta()
    size = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
    return -size if zone[0] == "-" else size
