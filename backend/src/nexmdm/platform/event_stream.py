"""The event log as a stream of server-sent events, each a CloudEvent (CloudEvents 1.0, JSON format)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from time import monotonic
from typing import Any, Final

import asyncpg
import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from nexmdm.http.runtime import runtime
from nexmdm.kernel.database import is_unavailable
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import OVERLOADED, VALIDATION_ERROR, Problem, answers, invalid
from nexmdm.platform.auth import DESCRIBED, ZONE_HEADERS, Caller
from nexmdm.platform.event_log import OF_EVENTS, Reader, in_zone, read, shown
from nexmdm.platform.events import STREAM_CLOSED, STREAM_OPENED
from nexmdm.platform.problems import CURSOR_EXPIRED
from nexmdm.platform.state import platform
from nexmdm.platform.streams import Streams

router = APIRouter(tags=["events"], dependencies=[DESCRIBED, Depends(in_zone)])

_LOOK_EVERY_S: Final = 0.5
_PING_EVERY_S: Final = 15.0
_PAGE: Final = 200
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_LAST_EVENT_ID: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "schema": {"type": "string", "pattern": f"^({_NUMBER.pattern})$"},
}


class EventStream(StreamingResponse):
    """Server-sent events of a zone, counted as open until the answer ends, however it does."""

    media_type = "text/event-stream"

    def __init__(self, streams: Streams, zone_id: str, events: AsyncIterator[bytes]) -> None:
        super().__init__(events)
        self._streams, self._zone_id = streams, zone_id
        streams.enter(zone_id)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        emit(STREAM_OPENED, zone_id=self._zone_id)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.leave(self._zone_id)
            emit(STREAM_CLOSED, zone_id=self._zone_id)


@router.get(
    "/api/v2/events/stream",
    operation_id="streamEvents",
    status_code=200,  # FastAPI would read it off the class, which takes none
    response_class=EventStream,
    responses=answers(*OF_EVENTS, CURSOR_EXPIRED, VALIDATION_ERROR, OVERLOADED),
    openapi_extra={"parameters": [*ZONE_HEADERS, _LAST_EVENT_ID]},
)
async def stream(request: Request, caller: Reader) -> EventStream:
    """Each event of a zone as it is committed, after the one that Last-Event-ID names, else from now on."""
    given = request.headers.get("last-event-id")
    if given is not None and _NUMBER.fullmatch(given) is None:
        raise invalid("/header/last-event-id", "cursor", "Not the id of an event of this stream.")
    place = caller.last_event if given is None else int(given)
    await read(request, caller, "replay", place, 1, pointer="/header/last-event-id")  # refuses what is not there
    return EventStream(platform(request).streams, caller.zone_id, _events(request, caller, place))


async def _events(request: Request, caller: Caller, place: int) -> AsyncIterator[bytes]:
    """Until the client leaves, the key, the zone or the brick is no longer good, or the process stops."""
    stopping, spoke = runtime(request).stopping, monotonic()
    yield b": open\n\n"
    if request.scope.get("nexmdm.method") == "HEAD":
        return  # the server leaves out what follows, and nothing else could be asked on the connection
    try:
        while not stopping.is_set():
            opened, caller = caller, await in_zone(request)
            if caller.zone_uid != opened.zone_uid:
                return  # a later zone of the same id
            if caller.last_event > place:
                rows, place, _ = await read(request, caller, "replay", place, _PAGE)
                spoke = monotonic()
                yield b"".join(map(_sent, rows))
            elif monotonic() - spoke >= _PING_EVERY_S:
                spoke = monotonic()
                yield b": ping\n\n"
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), _LOOK_EVERY_S)
    except Problem:
        return  # a client that connects again is told why
    except Exception as error:
        if not is_unavailable(error):
            raise


def _sent(row: asyncpg.Record) -> bytes:
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(row["event_id"]),
        "source": f"/zones/{row['zone_id']}",
        "type": f"nexmdm.platform.{row['type']}",
        "time": row["timestamp"],
        "datacontenttype": "application/json",
        "data": shown(row),
    }
    if row["path"]:
        event["subject"] = row["path"]
    data = orjson.dumps(event, option=orjson.OPT_UTC_Z).decode()
    return f"id: {row['sequence_number']}\nevent: {row['type']}\ndata: {data}\n\n".encode()
