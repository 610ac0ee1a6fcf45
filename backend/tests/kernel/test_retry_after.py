"""Every form of Retry-After, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nexmdm.kernel.retry_after import retry_after_s

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@given(seconds=st.integers(0, 10**9))
def test_retry_after_is_read_in_seconds_and_as_a_date(seconds: int) -> None:
    assert retry_after_s(str(seconds), NOW) == seconds
    until = NOW + timedelta(seconds=seconds)
    assert retry_after_s(format_datetime(until, usegmt=True), NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "Thursday, 26-Nov-26 12:00:30 GMT",  # RFC 850
        "Thu Nov 26 12:00:30 2026",  # asctime: always UTC
        "Thu, 26 Nov 2026 14:00:30 +0200",
    ],
)
def test_every_form_of_a_date_is_read(value: str) -> None:
    assert retry_after_s(value, NOW) == 30


@given(value=st.text())
@example(value="9" * 5000)
@example(value="Fri, 31 Dec 9999 23:59:59 -2359")
@example(value="Thu, 01 Jan 0001 00:00:00 +2359")
@example(value="Thu, 26 Nov 2026 12:00:30 +99999999999")
@example(value="-1")
@example(value="٣")
def test_any_retry_after_is_a_pause_of_no_less_than_nothing(value: str) -> None:
    assert retry_after_s(value, NOW) >= 0
