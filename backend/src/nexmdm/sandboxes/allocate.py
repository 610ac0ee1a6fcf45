"""A track gets a sandbox: `POST /v1/allocate`, with what is told about it in metrics, log and headers."""

from __future__ import annotations

from time import perf_counter
from typing import Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from nexmdm.http.admission import leave_admission
from nexmdm.http.runtime import database
from nexmdm.kernel import keys
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import Problem, answers
from nexmdm.sandboxes import metrics
from nexmdm.sandboxes.auth import (
    ALLOCATE_HEADERS,
    OF_A_TRACK,
    TRACK,
    TRACKS_ONLY,
    Asking,
    asking_track,
    refused_after_all,
)
from nexmdm.sandboxes.decisions import Ask, Contended
from nexmdm.sandboxes.events import ALLOCATED, EXHAUSTED, PARKED, REPLAYED
from nexmdm.sandboxes.prefer import wait_s
from nexmdm.sandboxes.problems import (
    ALLOCATION_CONTENDED,
    ALLOCATION_ENDED,
    IDEMPOTENCY_KEY_INVALID,
    NO_SANDBOXES_AVAILABLE,
)
from nexmdm.sandboxes.state import broker
from nexmdm.sandboxes.types import UnixTime
from nexmdm.sandboxes.waiting import Answer

router = APIRouter(tags=["allocations"], dependencies=TRACKS_ONLY)
PATH: Final = "/v1/allocate"

_EXHAUSTED_PAUSE_S: Final = 30
_CONTENDED_PAUSE_S: Final = 1


class Allocation(BaseModel):
    """A sandbox that is the track's. Times are Unix seconds."""

    sandbox_id: str
    name: str
    external_id: str
    allocated_at: UnixTime
    expires_at: UnixTime
    track_name: str | None


async def _decide(request: Request, asking: Asking, wait_s: int) -> Answer:
    track = asking.track
    ask = Ask(asking.key_hash, track.track_id, track.track_name, track.idempotency_key)

    def park() -> None:
        leave_admission(request.scope)
        emit(PARKED, track_id=track.track_id, track_name=track.track_name, wait_s=wait_s)

    answer = await broker(request).queue.allocate(ask, wait_s, park)
    if answer.decision.outcome == "refused":
        await refused_after_all(request, asking)
        raise Contended  # the key is good by now
    if answer.decision.key_is_due:
        await keys.verify(database(request), asking.key, TRACK, "sandboxes")
    return answer


@router.post(
    PATH,
    operation_id="allocateSandbox",
    status_code=201,
    responses=answers(
        *OF_A_TRACK, IDEMPOTENCY_KEY_INVALID, NO_SANDBOXES_AVAILABLE, ALLOCATION_ENDED, ALLOCATION_CONTENDED
    )
    | {200: {"model": Allocation}},
    openapi_extra={"parameters": ALLOCATE_HEADERS},
    response_model=Allocation,
)
async def allocate(request: Request) -> Response:
    """Get a sandbox; a track that has one gets that one."""
    asking = await asking_track(request)
    started, outcome, parked_s = perf_counter(), "error", 0.0
    seconds = wait_s(request.headers.getlist("prefer"))
    try:
        answer = await _decide(request, asking, seconds)
        outcome, parked_s = answer.decision.outcome, answer.parked_s or 0.0
    except Contended:
        outcome = "contended"
        raise Problem(ALLOCATION_CONTENDED, headers={"Retry-After": str(_CONTENDED_PAUSE_S)}) from None
    except Problem:
        outcome = ""  # refused before it was judged
        raise
    finally:
        if outcome:
            metrics.allocations.labels(outcome).inc()
            metrics.allocation_duration.labels(outcome).observe(max(0.0, perf_counter() - started - parked_s))
    track, given = asking.track, answer.decision.given
    applied = {} if answer.parked_s is None else {"Preference-Applied": f"wait={seconds}"}
    if given is None:
        if outcome == "ended":
            raise Problem(ALLOCATION_ENDED)
        emit(EXHAUSTED, track_id=track.track_id, track_name=track.track_name, queue_position=answer.position)
        raise Problem(
            NO_SANDBOXES_AVAILABLE,
            headers={"Retry-After": str(_EXHAUSTED_PAUSE_S), **applied},
            extra={} if answer.position is None else {"queue_position": answer.position},
        )
    replayed = outcome == "replay"
    emit(
        REPLAYED if replayed else ALLOCATED,
        sandbox_id=given.sandbox_id,
        track_id=track.track_id,
        track_name=given.track_name,
    )
    body = Allocation.model_validate(given, from_attributes=True).model_dump_json()
    headers = applied | ({"Idempotent-Replay": "true"} if replayed else {})
    return Response(body, 200 if replayed else 201, headers, "application/json")
