"""The server's clock from its Date header: right within what it claims, and refused where it cannot be known."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from email.utils import formatdate

import pytest

from harness.http.transport import Answer
from load.measurements.server_clock import ServerClock, from_date_header, measure


def server(ahead_s: float) -> Callable[[], Answer]:
    return lambda: Answer(200, {"date": formatdate(time.time() + ahead_s, usegmt=True)}, b"", 1.0, None)


@pytest.mark.parametrize("ahead_s", [0.0, 42.3, -7.9])
def test_offset_is_within_the_uncertainty_it_claims(ahead_s: float) -> None:
    clock = from_date_header(server(ahead_s))
    assert abs(clock.now() - (time.time() + ahead_s)) <= clock.uncertainty_s
    assert clock.uncertainty_s < 0.85  # else no jitter of sim20 keeps clear of bucket edges


@pytest.mark.parametrize("headers", [{}, {"date": "Fri, 20 Nov 2026 10:00:00 GMT"}])
def test_missing_or_frozen_date_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="Date"):
        from_date_header(lambda: Answer(200, headers, b"", 1.0, None))


def test_local_server_shares_our_clock() -> None:
    clock = measure("http://127.0.0.1:1", None, server(100.0))
    assert (clock.source, clock.uncertainty_s) == ("this machine", 0.0)
    assert abs(clock.now() - time.time()) < 0.05


def test_elsewhere_the_date_header_is_asked() -> None:
    assert measure("http://nexmdm.test", None, server(100.0)).source == "Date header"


def test_clock_runs() -> None:
    clock = ServerClock(5.0, 0.0, "test")
    assert clock.now() <= clock.now()


def test_server_without_a_clock_to_read_is_known_to_be_unknown() -> None:
    clock = measure("http://nexmdm.test", None, lambda: Answer(200, {}, b"", 1.0, None))
    assert clock.uncertainty_s == math.inf
    assert clock.source.startswith("unknown")
