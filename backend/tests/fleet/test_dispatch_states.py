"""Every event meets a dispatch in every state: it moves those that SOURCES names, and no other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from support.database import store_device

from nexmdm.fleet import dispatch_states
from nexmdm.fleet.dispatch_states import SOURCES, STATUSES, DispatchStatus
from nexmdm.fleet.fcm_verdict import Attempt, Verdict
from nexmdm.kernel.database import Database

ATTEMPT = Attempt(Verdict.RETRY, "UNAVAILABLE", 503, 1.0)
MUST_HAVE = {  # what the table's constraints ask of a row in this state
    "sending": "lease_until = now() - interval '1 s'",
    "sent": "sent_at = now()",
    "completed": "completed_at = now(), outcome = 'ok'",
}

Event = Callable[[Database, str, UUID], Awaitable[Any]]


async def claimed(db: Database, _request_id: str, _device_id: UUID) -> None:
    await dispatch_states.claim(db, 1, 10.0)


def recorded(status: DispatchStatus) -> Event:
    return lambda db, request_id, _: dispatch_states.record(db, request_id, ATTEMPT, status, 0.0)


async def expired(db: Database, request_id: str, _device_id: UUID) -> None:
    async with db.engine.begin() as connection:
        past = "created_at = now() - interval '2 s', expires_at = now() - interval '1 s'"
        await connection.exec_driver_sql(f"UPDATE fcm_dispatches SET {past} WHERE request_id = $1", (request_id,))
    await dispatch_states.expire(db)


async def withdrawn(db: Database, _request_id: str, device_id: UUID) -> None:
    async with db.sessions() as session:
        await dispatch_states.withdraw(session, device_id, "device_retired", "a test")
        await session.commit()


async def completed(db: Database, request_id: str, device_id: UUID) -> None:
    nothing = {"message": None, "finished_at": None, "data": None}
    mine = {"device_id": device_id, "token_version": 1, "request_id": request_id, "outcome": "error"}
    async with db.sessions() as session:
        await dispatch_states.complete(session, {**mine, **nothing})
        await session.commit()


EVENTS: list[tuple[DispatchStatus, Event, bool]] = [  # the state it leads to; the last: adds an attempt in any case
    ("sending", claimed, False),
    ("sent", recorded("sent"), True),
    ("queued", recorded("queued"), True),
    ("failed", recorded("failed"), True),
    ("failed", withdrawn, False),
    ("expired", expired, False),
    ("completed", completed, False),
]


@pytest.mark.parametrize("target, event, always_adds", EVENTS)
async def test_an_event_moves_exactly_the_states_that_it_may(
    db: Database, connection: asyncpg.Connection[Any], target: DispatchStatus, event: Event, always_adds: bool
) -> None:
    for state in STATUSES:
        device_id = await store_device(connection)
        await store_dispatch(connection, state, device_id)
        await event(db, state, device_id)
    after = dict(await connection.fetch("SELECT request_id, status FROM fcm_dispatches"))
    sources = ("sending",) if always_adds else SOURCES[target]  # an attempt ends only what is being sent
    assert set(sources) <= set(SOURCES[target])
    assert after == {state: target if state in sources else state for state in STATUSES}
    steps = await connection.fetch("SELECT request_id, status FROM dispatch_transitions")
    assert sorted(map(tuple, steps)) == sorted((state, target) for state in (STATUSES if always_adds else sources))


async def store_dispatch(connection: asyncpg.Connection[Any], state: str, device_id: UUID) -> None:
    """A command and its dispatch in this state; both have the state as their id."""
    digest = "0" * 64
    await connection.execute(
        "INSERT INTO commands (request_id, action, content_hash, http_request_id, expires_at)"
        " VALUES ($1, 'ping', $2, 'test', now() + interval '1 h')",
        state,
        digest,
    )
    await connection.execute(
        "INSERT INTO fcm_dispatches"
        " (request_id, command_request_id, ordinal, device_id, action, payload_hash, expires_at)"
        " VALUES ($1, $1, 0, $2, 'ping', $3, now() + interval '1 h')",
        state,
        device_id,
        digest,
    )
    also = "".join(f", {part}" for part in MUST_HAVE.get(state, "").split(", ") if part)
    await connection.execute(f"UPDATE fcm_dispatches SET status = $1{also} WHERE request_id = $1", state)
