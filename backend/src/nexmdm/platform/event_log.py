"""The event log of a zone: newest first, or replayed from the oldest. What is read is one snapshot, without a gap."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import asyncpg
import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel

from nexmdm.http.pagination import IN_DIGITS, refuse_repeated_parameters
from nexmdm.http.types import FREE_TEXT, Moment
from nexmdm.kernel.problems import VALIDATION_ERROR, Problem, ProblemType, answers, invalid
from nexmdm.platform.auth import DESCRIBED, OF_A_KEY, ZONE_HEADERS, Caller, InZone
from nexmdm.platform.event_cursor import Order, decode, encode
from nexmdm.platform.paths import MOST_BYTES
from nexmdm.platform.problems import BRICK_UNMOUNTED, CURSOR_EXPIRED, ZONE_TERMINATING
from nexmdm.platform.state import platform
from nexmdm.platform.types import AGENT_ID, EventType
from nexmdm.platform.zone_row import SNAPSHOT

BRICK: Final = "events"
OF_EVENTS: Final = (*OF_A_KEY, ZONE_TERMINATING, BRICK_UNMOUNTED)
in_zone: Final = InZone(brick=BRICK)
# The caller is judged before the parameters.
router = APIRouter(tags=["events"], dependencies=[DESCRIBED, Depends(in_zone), Depends(refuse_repeated_parameters)])
Reader = Annotated[Caller, Depends(in_zone)]

# The zone's row and its events are of one snapshot: no event up to event_seq is missing but those past their days.
_BOUNDS: Final = """
    SELECT event_seq AS last, coalesce(
        (SELECT min(sequence_number) FROM events WHERE zone_id = $1), event_seq + 1) AS first
    FROM zones WHERE zone_id = $1 AND uid = $2
"""
_SELECT: Final = """
    SELECT event_id, sequence_number, type, path, new_path, zone_id, agent_id, 'committed' AS status,
        occurred_at AS timestamp
    FROM events WHERE zone_id = $1 AND sequence_number > $2 AND sequence_number < $3
"""


class EventView(BaseModel):
    """A committed change. `path` is empty where it concerns no path."""

    event_id: UUID
    sequence_number: int
    type: EventType
    path: str
    new_path: str | None
    zone_id: str
    agent_id: str | None
    status: Literal["committed"] = "committed"
    timestamp: datetime


class Events(BaseModel):
    """A page. `next_cursor` is good for what comes later, even where there is no more yet."""

    events: list[EventView]
    next_cursor: str
    has_more: bool


@dataclass(frozen=True, slots=True)
class Filters:
    """What is asked for. All have to hold; the limit counts what is left."""

    operation_type: Annotated[EventType | None, Query()] = None
    path_prefix: Annotated[str | None, Query(min_length=1, max_length=MOST_BYTES, pattern=FREE_TEXT)] = None
    agent_id: Annotated[str | None, Query(pattern=f"^{AGENT_ID}$")] = None
    since: Annotated[Moment | None, Query()] = None
    until: Annotated[Moment | None, Query()] = None

    def conditions(self, first: int) -> tuple[str, list[Any]]:
        """As SQL with parameters from `$first` on. Each operator suits the index under row-level security."""
        given = {
            "type = ${}": self.operation_type,
            "path >= ${}": self.path_prefix,
            "path < ${}": _after_prefix(self.path_prefix),
            "agent_id = ${}": self.agent_id,
            "occurred_at >= ${}": self.since,
            "occurred_at <= ${}": self.until,
        }
        asked = {condition: value for condition, value in given.items() if value is not None}
        parts = [f" AND {condition.format(first + place)}" for place, condition in enumerate(asked)]
        return "".join(parts), list(asked.values())


def _after_prefix(prefix: str | None) -> str | None:
    """The first text, by its bytes, after every text that begins with the prefix; None where there is none."""
    for end in range(len(prefix or ""), 0, -1):
        assert prefix is not None
        following = ord(prefix[end - 1]) + 1
        if following <= 0x10FFFF:
            return prefix[: end - 1] + chr(0xE000 if following == 0xD800 else following)
    return None


NONE: Final = Filters()
Limit = Annotated[int, Query(ge=1, le=1000), IN_DIGITS]
Cursor = Annotated[str | None, Query(pattern=r"^[A-Za-z0-9_-]{1,200}$")]


async def read(
    request: Request,
    caller: Caller,
    order: Order,
    place: int | None,
    limit: int,
    filters: Filters = NONE,
    *,
    pointer: str = "/query/cursor",
) -> tuple[list[asyncpg.Record], int, bool]:
    """Events after a place in this order, what place comes after them, and whether there are more.

    Raises:
        Problem: `cursor_expired` where events after the place are past their days; 422 at the pointer where the zone
            has had none as late as the place.
    """
    conditions, values = filters.conditions(5)
    direction = "ASC" if order == "replay" else "DESC"
    statement = f"{_SELECT}{conditions} ORDER BY sequence_number {direction} LIMIT $4"
    async with platform(request).within(caller.zone_id, SNAPSHOT) as tx:
        bounds = await tx.fetchrow(_BOUNDS, caller.zone_id, caller.zone_uid)
        if bounds is None:
            raise Problem(ZONE_TERMINATING)
        first, last = bounds["first"], bounds["last"]
        if order == "list":
            after, before = 0, last + 1 if place is None else place
        else:
            after, before = first - 1 if place is None else place, last + 1
            if after < first - 1:
                raise Problem(CURSOR_EXPIRED, extra={"first_available": first})
            if after > last:
                raise invalid(pointer, "cursor", "Behind the last event of the zone.")
        rows = await tx.fetch(statement, caller.zone_id, after, before, limit + 1, *values)
    if len(rows) > limit:
        return rows[:limit], rows[limit - 1]["sequence_number"], True
    return rows, last if order == "replay" else min(before, first), False


async def _page(
    request: Request, caller: Caller, order: Order, filters: Filters, limit: int, cursor: str | None
) -> Response:
    place = None if cursor is None else decode(order, caller.zone_uid, cursor)
    rows, end, more = await read(request, caller, order, place, limit, filters)
    page = {
        "events": [shown(row) for row in rows],
        "next_cursor": encode(order, caller.zone_uid, end),
        "has_more": more,
    }
    return Response(orjson.dumps(page, option=orjson.OPT_UTC_Z), media_type="application/json")


def shown(row: asyncpg.Record) -> dict[str, Any]:
    """As `EventView` describes it."""
    return dict(row) | {"event_id": str(row["event_id"])}


def _described(operation_id: str, *more: ProblemType) -> dict[str, Any]:
    return {
        "operation_id": operation_id,
        "response_model": Events,
        "responses": answers(*OF_EVENTS, *more, VALIDATION_ERROR),
        "openapi_extra": {"parameters": ZONE_HEADERS},
    }


@router.get("/api/v2/events", **_described("listEvents"))
async def list_events(
    request: Request,
    caller: Reader,
    filters: Annotated[Filters, Depends()],
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """The events of a zone, newest first."""
    return await _page(request, caller, "list", filters, limit, cursor)


@router.get("/api/v2/events/replay", **_described("replayEvents", CURSOR_EXPIRED))
async def replay_events(
    request: Request,
    caller: Reader,
    filters: Annotated[Filters, Depends()],
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """The events of a zone in the order of their commits, from the oldest that is kept or from a cursor on."""
    return await _page(request, caller, "replay", filters, limit, cursor)
