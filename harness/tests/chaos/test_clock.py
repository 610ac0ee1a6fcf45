"""A moved clock is PostgreSQL's and nobody else's; without the library it is an error that says what is missing."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest

from harness.chaos import clock
from harness.chaos.clock import MovedClock, MovedClockError
from harness.postgres.server import Postgres

_NOW = "SELECT extract(epoch FROM clock_timestamp())::float"


def test_it_moves_the_clock_of_postgresql_forward_and_back() -> None:
    try:
        clock = MovedClock(86_400)
    except MovedClockError as error:
        assert "libfaketime" in str(error)  # noqa: PT017 - a machine without it is told so
        return
    with Postgres.start(env=clock.env) as own, psycopg.connect(own.admin_url, autocommit=True) as session:

        def ahead_s() -> float:
            [(now,)] = session.execute(_NOW).fetchall()
            assert abs(now - clock.now()) < 2
            return float(now - time.time())

        assert ahead_s() == pytest.approx(86_400, abs=2)
        clock.move(-90_000)
        assert ahead_s() == pytest.approx(-3_600, abs=2)


def test_without_the_library_it_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(clock, "_PLACES", (str(tmp_path / "*.so"),))
    with pytest.raises(MovedClockError, match="apt install faketime"):
        MovedClock()
