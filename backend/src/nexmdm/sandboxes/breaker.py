"""The circuit breaker of the provider: one row that all processes share. It makes no call.

After some failures in a row it is open: nobody calls. When that time is over one caller wins the probe, by the one
statement that moves `open_until` on; that moment is the name of the probe. Its answer closes or opens the breaker, and
a probe that is never heard of again is followed by another.
"""

from __future__ import annotations

from datetime import datetime
from math import ceil
from typing import Final

from sqlalchemy import text

from nexmdm.kernel.database import Database
from nexmdm.kernel.log import emit
from nexmdm.sandboxes.events import BREAKER_CLOSED, BREAKER_OPENED
from nexmdm.sandboxes.job import commit
from nexmdm.sandboxes.settings import SandboxSettings

Probe = datetime | None  # None: the breaker is closed, and a call is like any other

_HOLD_S: Final = 10  # how much longer than its call a probe is waited for

_WIN_PROBE: Final = text(
    """
    UPDATE breaker SET open_until = clock_timestamp() + make_interval(secs => :hold_s)
    WHERE name = 'provider' AND open_until <= clock_timestamp()
    RETURNING open_until
    """
)
_OPEN_FOR: Final = text(
    """
    SELECT greatest(0, extract(epoch FROM open_until - clock_timestamp()))::float FROM breaker
    WHERE name = 'provider' AND open_until IS NOT NULL
    """
)
# A call counts for the breaker as it was when the call began: one that ends after it was opened changes nothing.
_FAILED: Final = text(
    """
    UPDATE breaker SET
        failures = failures + 1,
        open_until = CASE WHEN open_until IS NOT NULL OR failures + 1 >= :failures
            THEN clock_timestamp() + make_interval(secs => :open_s) END
    WHERE name = 'provider' AND open_until IS NOT DISTINCT FROM CAST(:probe AS timestamptz)
    RETURNING failures, open_until IS NOT NULL AS opened
    """
)
_SUCCEEDED: Final = text(
    """
    UPDATE breaker SET failures = 0, open_until = NULL
    WHERE name = 'provider' AND failures > 0 AND open_until IS NOT DISTINCT FROM CAST(:probe AS timestamptz)
    RETURNING failures
    """
)
_GIVE_BACK: Final = text(
    "UPDATE breaker SET open_until = clock_timestamp() WHERE name = 'provider' AND open_until = :probe RETURNING name"
)


class CircuitOpen(Exception):
    """The provider is left alone for `retry_after_s` more seconds."""

    def __init__(self, open_for_s: float) -> None:
        super().__init__("the circuit is open")
        self.retry_after_s = max(1, ceil(open_for_s))


async def probe(db: Database, settings: SandboxSettings) -> Probe:
    """The one probe that is due, if it is ours; None: the breaker is closed, or open, or another has the probe."""
    rows = await commit(db, _WIN_PROBE, hold_s=settings.provider_timeout_s + _HOLD_S)
    won: datetime | None = rows[0].open_until if rows else None
    return won


async def check(db: Database) -> None:
    """Pass where the breaker is closed.

    Raises:
        CircuitOpen: it is open, or its probe is another's.
    """
    rows = await commit(db, _OPEN_FOR)
    if rows:
        raise CircuitOpen(rows[0][0])


async def give_back(db: Database, probe: datetime) -> None:
    """The probe was not used, or its answer says nothing: another may be won at once."""
    await commit(db, _GIVE_BACK, probe=probe)


async def heard(db: Database, settings: SandboxSettings, status: int | None, probe: Probe) -> None:
    """Count an answer: none in time and 5xx are failures, 2xx is success, all else is neither."""
    if status is None or status >= 500:
        rows = await commit(
            db, _FAILED, failures=settings.breaker_failures, open_s=settings.breaker_open_s, probe=probe
        )
        if rows and rows[0].opened:
            emit(BREAKER_OPENED, "error", failures=rows[0].failures, open_s=settings.breaker_open_s)
    elif 200 <= status < 300:
        if await commit(db, _SUCCEEDED, probe=probe) and probe is not None:
            emit(BREAKER_CLOSED)
    elif probe is not None:
        await give_back(db, probe)
