"""What the admin reads of the pool as a whole: how many sandboxes are in each state, and what labs have used."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, BeforeValidator, Field
from pydantic_core import PydanticCustomError
from sqlalchemy import text

from nexmdm.http.pagination import refuse_repeated_parameters
from nexmdm.http.runtime import Session
from nexmdm.kernel.problems import VALIDATION_ERROR, answers, invalid
from nexmdm.sandboxes.auth import ADMIN_ONLY, OF_A_POOL_ADMIN
from nexmdm.sandboxes.state import broker
from nexmdm.sandboxes.types import UnixTime

router = APIRouter(tags=["sandboxes"], dependencies=ADMIN_ONLY)

_DAY: Final = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"
_LONGEST: Final = timedelta(days=90)
_USAGE: Final = text(
    """
    SELECT (allocated_at AT TIME ZONE 'UTC')::date AS day, track_name, count(*) AS allocations,
        count(*) FILTER (WHERE ended_at IS NULL) AS live,
        count(*) FILTER (WHERE end_reason = 'released') AS released,
        count(*) FILTER (WHERE end_reason = 'expired') AS expired,
        count(*) FILTER (WHERE end_reason = 'revoked') AS revoked,
        round(extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY ended_at - allocated_at)) / 3600, 3)
            AS median_hours
    FROM allocations
    WHERE allocated_at >= CAST(:first AS date)::timestamp AT TIME ZONE 'UTC'
        AND allocated_at < CAST(:last AS date)::timestamp AT TIME ZONE 'UTC' + interval '1 day'
    GROUP BY day, track_name
    ORDER BY day, track_name NULLS FIRST
    """
)


def _day(value: object) -> date:
    # date.fromisoformat() also takes weeks and no hyphens: several spellings of one day.
    if isinstance(value, str) and re.fullmatch(_DAY, value):
        with suppress(ValueError):
            return date.fromisoformat(value)
    raise PydanticCustomError("date_parsing", "Input should be a day that exists, as YYYY-MM-DD")


Day = Annotated[date, BeforeValidator(_day), Field(json_schema_extra={"pattern": _DAY})]


class LabSandboxes(BaseModel):
    """The live sandboxes of one lab; null is those that named none."""

    track_name: str | None
    allocated: int


class PoolStats(BaseModel):
    """How many sandboxes are in each state. `total` leaves out the deleted ones. `as_of` is in Unix seconds."""

    total: int
    available: int
    allocated: int
    pending_deletion: int
    deleting: int
    deletion_failed: int
    stale: int
    deleted: int
    by_track_name: Annotated[list[LabSandboxes], Field(max_length=1000)]
    as_of: UnixTime


class LabDay(BaseModel):
    """What one lab was given on one day in UTC, and how that ended. `median_hours`: of the ended ones; null if none."""

    day: date
    track_name: str | None
    allocations: int
    live: int
    released: int
    expired: int
    revoked: int
    median_hours: float | None


class Usage(BaseModel):
    """Labs by day, oldest first; a lab without allocations on a day has no entry."""

    items: list[LabDay]


@router.get(
    "/v1/admin/stats",
    operation_id="getSandboxStats",
    responses=answers(*OF_A_POOL_ADMIN),
)
async def stats(request: Request) -> PoolStats:
    """Count the pool."""
    counts = await broker(request).counts.read()
    labs = sorted(counts.by_track_name.items(), key=lambda lab: (-lab[1], lab[0] or ""))
    return PoolStats.model_validate(
        {
            **counts.by_status,
            "total": sum(counts.by_status.values()) - counts.by_status["deleted"],
            "by_track_name": [LabSandboxes(track_name=name, allocated=allocated) for name, allocated in labs],
            "as_of": counts.as_of,
        }
    )


@router.get(
    "/v1/admin/usage",
    operation_id="getSandboxUsage",
    dependencies=[Depends(refuse_repeated_parameters)],
    responses=answers(*OF_A_POOL_ADMIN, VALIDATION_ERROR),
)
async def usage(
    session: Session, first: Annotated[Day, Query(alias="from")], last: Annotated[Day, Query(alias="to")]
) -> Usage:
    """See what labs were given from one day in UTC to another, both included."""
    if not timedelta() <= last - first < _LONGEST:
        raise invalid("/query/to", "day_range", "The last of at most 90 days, of which the first is `from`.")
    rows = (await session.execute(_USAGE, {"first": first, "last": last})).all()
    return Usage(items=[LabDay.model_validate(row, from_attributes=True) for row in rows])
