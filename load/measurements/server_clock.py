"""The server's clock, read from outside: heartbeats are bucketed by the database's time, not by ours.

It never sets or corrects anything: it says what the offset is and how well it is known.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import psycopg

from harness.http.client import Answer

_READINGS = 5
_TICK_WITHIN_S = 2.5


@dataclass(frozen=True)
class ServerClock:
    """now() is server time = this process's monotonic clock + offset_s, right to +-uncertainty_s."""

    offset_s: float
    uncertainty_s: float
    source: str

    def now(self) -> float:
        return time.monotonic() + self.offset_s


def this_machine() -> ServerClock:
    """Right for a server on this machine."""
    return ServerClock(time.time() - time.monotonic(), 0.0, "this machine")


def from_database(database_url: str) -> ServerClock:
    """Ask PostgreSQL itself; the quickest of a few readings is the best. psycopg.Error when it cannot be reached."""
    readings: list[tuple[float, float]] = []
    with psycopg.connect(database_url, autocommit=True, connect_timeout=10) as connection:
        for _ in range(_READINGS):
            before = time.monotonic()
            row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
            after = time.monotonic()
            assert row is not None
            readings.append(((after - before) / 2, row[0] - (before + after) / 2))
    uncertainty, offset = min(readings)
    return ServerClock(offset, uncertainty, "database")


def from_date_header(get: Callable[[], Answer]) -> ServerClock:
    """Wait for the Date header's second to tick. Servers cache that header for up to a second: +-0.5 s at best.

    ValueError when there is no Date header, or it stands still.
    """
    first: str | None = None
    deadline = time.monotonic() + _TICK_WITHIN_S
    while time.monotonic() < deadline:
        before = time.monotonic()
        date = get().headers.get("date")
        after = time.monotonic()
        if date is None:
            break
        if first is not None and date != first:
            offset = parsedate_to_datetime(date).timestamp() + 0.5 - (before + after) / 2
            return ServerClock(offset, 0.55 + (after - before) / 2, "Date header")
        first = date
        time.sleep(0.05)
    raise ValueError("the server's Date header is missing or stands still")


def measure(base_url: str, database_url: str | None, get: Callable[[], Answer]) -> ServerClock:
    """The best source there is: the database, else this machine's clock for a local server, else the Date header.

    TransportError when the server cannot be reached; a server without a clock to read gives infinite uncertainty.
    """
    if database_url is not None:
        return from_database(database_url)
    if urlsplit(base_url).hostname in ("127.0.0.1", "::1", "localhost"):
        return this_machine()
    try:
        return from_date_header(get)
    except ValueError as unknown:
        return ServerClock(time.time() - time.monotonic(), math.inf, f"unknown: {unknown}")
