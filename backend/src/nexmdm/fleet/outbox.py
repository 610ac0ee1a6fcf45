"""The outbox: `fcm_dispatches` as a queue, with the transitions that sending makes. It sends nothing, decides no retry.

`results` records what devices answer, `withdrawals` ends what is no longer to be sent.
SKIP LOCKED lets any number of dispatchers share it. A claim is a lease: who dies with one gives the row back when it
has run out. NOTIFY says that there is work; whoever waits must poll too, since a notification can be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
from sqlalchemy import RowMapping, TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from nexmdm.fleet.fcm_verdict import Verdict
from nexmdm.kernel.database import Database

NEW_WORK: Final = "nexmdm_dispatch"  # the channel

_ENQUEUE: Final = text(
    """
    WITH target AS (
        SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:devices AS uuid[])) WITH ORDINALITY AS t(id, device, position)
    ), dispatch AS (
        INSERT INTO fcm_dispatches
            (request_id, command_request_id, ordinal, device_id, action, payload_hash, created_at, expires_at)
        SELECT id, c.request_id, position - 1, device, c.action, :payload_hash, c.created_at, c.expires_at
        FROM target, commands AS c WHERE c.request_id = :command
        RETURNING request_id
    ), step AS (
        INSERT INTO dispatch_transitions (request_id, status) SELECT request_id, 'queued' FROM dispatch
    )
    SELECT pg_notify(:channel, '')
    """
)

_CLAIM: Final = text(
    """
    WITH due AS (
        SELECT request_id FROM fcm_dispatches
        WHERE (status = 'queued' AND next_attempt_at <= now() OR status = 'sending' AND lease_until < now())
            AND expires_at > now()
        ORDER BY next_attempt_at LIMIT :free
        FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE fcm_dispatches AS d
        SET status = 'sending', attempts = attempts + 1, lease_until = now() + make_interval(secs => :lease_s)
        FROM due WHERE d.request_id = due.request_id
        RETURNING d.*
    ), step AS (
        INSERT INTO dispatch_transitions (request_id, status) SELECT request_id, 'sending' FROM claimed
    )
    SELECT
        d.request_id, d.device_id, d.action, d.attempts, d.retries, c.params, c.http_request_id,
        extract(epoch FROM d.expires_at - now())::float AS ttl_s,
        v.fcm_token, v.fcm_token_dead_at IS NOT NULL AS token_is_dead
    FROM claimed AS d
    JOIN commands AS c ON c.request_id = d.command_request_id
    JOIN devices AS v ON v.device_id = d.device_id
    """
)

# The attempt is on record whatever has become of the dispatch; FCM's answer stands in its row while it is being sent,
# and where the device was faster; its state moves only while it is being sent. `found` waits for the row's lock. The
# update must not take its status from there: PostgreSQL checks it with the row as it was before, then does it again.
_RECORD: Final = text(
    """
    WITH found AS (
        SELECT request_id, status FROM fcm_dispatches WHERE request_id = :request_id FOR NO KEY UPDATE
    ), recorded AS (
        UPDATE fcm_dispatches AS d SET
            status = CASE WHEN d.status = 'sending' THEN :status ELSE d.status END,
            lease_until = NULL,
            sent_at = CASE WHEN :status = 'sent' THEN now() ELSE sent_at END,
            retries = retries + CASE WHEN :status = 'queued' THEN 1 ELSE 0 END,
            next_attempt_at = now() + make_interval(secs => :delay_s),
            http_code = :http_code, fcm_status = :fcm_code, fcm_message_id = :message_id,
            latency_ms = :latency_ms, error_msg = :error_msg, response_json = CAST(:response AS jsonb)
        FROM found WHERE d.request_id = found.request_id AND d.status IN ('sending', 'completed')
    ), step AS (
        INSERT INTO dispatch_transitions (request_id, status, http_code, fcm_status, latency_ms, error_msg)
        SELECT request_id, :status, :http_code, :fcm_code, :latency_ms, :error_msg FROM found
    )
    SELECT status = 'sending' AS moved FROM found
    """
)

_TOKEN_DIED: Final = text(
    """
    UPDATE devices SET fcm_token_dead_at = now(), updated_at = greatest(now(), registered_at)
    WHERE device_id = :device_id AND fcm_token = :token AND fcm_token_dead_at IS NULL
    RETURNING device_id
    """
)

_EXPIRE: Final = text(
    """
    WITH expired AS (
        UPDATE fcm_dispatches SET status = 'expired', lease_until = NULL
        WHERE request_id IN (
            SELECT request_id FROM fcm_dispatches
            WHERE status IN ('queued', 'sending', 'sent') AND expires_at <= now()
            LIMIT 1000 FOR UPDATE SKIP LOCKED
        )
        RETURNING request_id, command_request_id, device_id, action
    ), step AS (
        INSERT INTO dispatch_transitions (request_id, status) SELECT request_id, 'expired' FROM expired
    )
    SELECT e.*, c.http_request_id FROM expired AS e JOIN commands AS c ON c.request_id = e.command_request_id
    """
)

_BACKLOG: Final = text(
    """
    SELECT count(*) AS waiting, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float AS oldest_s
    FROM fcm_dispatches WHERE status IN ('queued', 'sending')
    """
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt gave. `fcm_code` is FCM's errorCode, or OK; `http_code` is None where no answer came."""

    verdict: Verdict
    fcm_code: str
    http_code: int | None
    latency_ms: float
    message_id: str | None = None
    error_msg: str | None = None
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Due:
    """A claimed dispatch and what sending it needs."""

    request_id: str
    http_request_id: str
    device_id: UUID
    action: str
    params: dict[str, Any]
    attempts: int
    retries: int
    ttl_s: float
    fcm_token: str | None
    token_is_dead: bool


async def enqueue(session: AsyncSession, command: str, devices: Mapping[str, UUID], payload_hash: str) -> None:
    """Queue the dispatches `{request_id: device_id}` of a command, as part of the session's transaction."""
    await session.execute(
        _ENQUEUE,
        {
            "ids": list(devices),
            "devices": list(devices.values()),
            "command": command,
            "payload_hash": payload_hash,
            "channel": NEW_WORK,
        },
    )


async def claim(db: Database, most: int, lease_s: float) -> list[Due]:
    """Take up to `most` dispatches that are due, or whose lease has run out."""
    return [Due(**row) for row in await _run(db, _CLAIM, {"free": most, "lease_s": lease_s})]


async def record(db: Database, due: Due, attempt: Attempt, status: str, delay_s: float) -> bool:
    """Store what an attempt gave: `sent`, `failed`, or `queued` for another in `delay_s`.

    Returns: False where the dispatch had ended before; the attempt is stored, the state stays.
    """
    if attempt.verdict is Verdict.TOKEN_DEAD:
        # First, and in a transaction of its own: whoever withdraws dispatches holds their device, and waits for them.
        await _run(db, _TOKEN_DIED, {"device_id": due.device_id, "token": due.fcm_token or ""})
    rows = await _run(
        db,
        _RECORD,
        {
            "request_id": due.request_id,
            "status": status,
            "delay_s": delay_s,
            "http_code": attempt.http_code,
            "fcm_code": attempt.fcm_code,
            "message_id": attempt.message_id,
            "latency_ms": attempt.latency_ms,
            "error_msg": attempt.error_msg,
            "response": orjson.dumps({"name": attempt.message_id}).decode() if attempt.message_id else None,
        },
    )
    return bool(rows and rows[0]["moved"])


async def expire(db: Database) -> list[RowMapping]:
    """End the dispatches whose time is over. Gives request_id, http_request_id, device_id and action of each."""
    return await _run(db, _EXPIRE, {})


async def backlog(db: Database) -> tuple[int, float]:
    """How many dispatches are not yet sent, and for how many seconds the oldest of them has waited."""
    [row] = await _run(db, _BACKLOG, {})
    return row["waiting"], row["oldest_s"]


async def listen(db: Database, wake: Callable[[], None]) -> None:
    """Call `wake` at once and at every notification, until the connection is lost.

    Raises:
        OSError, asyncpg.PostgresError: there is no connection to be had.
    """
    connection = await db.connect()
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    try:
        await connection.add_listener(NEW_WORK, lambda *_: wake())
        wake()  # what was queued before we listened
        await lost.wait()
    finally:
        connection.terminate()


async def _run(db: Database, statement: TextClause, parameters: dict[str, Any]) -> list[RowMapping]:
    async with db.engine.begin() as connection:
        return list((await connection.execute(statement, parameters)).mappings())
