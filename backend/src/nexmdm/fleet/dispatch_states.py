"""The states of a dispatch, their legal transitions, and every statement that writes one.

    queued -> sending -> sent -> completed

A retry goes from sending back to queued, a lease that has run out from sending to sending. `failed` and `expired` are
the other ends; a result that arrives after them, or before FCM's answer, still completes. Each statement that moves a
row adds the row of `dispatch_transitions` itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args
from uuid import UUID

import orjson
from sqlalchemy import Row, RowMapping, TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from nexmdm.fleet.fcm_verdict import Attempt
from nexmdm.kernel.columns import sql_list
from nexmdm.kernel.database import Database

DispatchStatus = Literal["queued", "sending", "sent", "failed", "completed", "expired"]

STATUSES: Final[tuple[DispatchStatus, ...]] = get_args(DispatchStatus)
UNSENT: Final[tuple[DispatchStatus, ...]] = ("queued", "sending")
OPEN: Final[tuple[DispatchStatus, ...]] = (*UNSENT, "sent")
NEW_WORK: Final = "nexmdm_dispatch"  # the channel on which `enqueue` notifies

# The status that a dispatch takes, and those that it may take it from.
SOURCES: Final[Mapping[DispatchStatus, tuple[DispatchStatus, ...]]] = {
    "queued": ("sending",),
    "sending": UNSENT,
    "sent": ("sending",),
    "failed": UNSENT,
    "expired": OPEN,
    "completed": (*OPEN, "failed", "expired"),
}

_ENQUEUE: Final = text(
    """
    WITH target AS (
        SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:devices AS text[])) WITH ORDINALITY AS t(id, device, position)
    ), dispatch AS (
        INSERT INTO fcm_dispatches
            (request_id, command_request_id, ordinal, device_id, action, payload_hash, created_at, expires_at)
        SELECT id, c.request_id, position - 1, CAST(device AS uuid), c.action, :payload_hash, c.created_at, c.expires_at
        FROM target, commands AS c WHERE c.request_id = :command
        RETURNING request_id
    ), step AS (
        INSERT INTO dispatch_transitions (request_id, status) SELECT request_id, 'queued' FROM dispatch
    )
    SELECT pg_notify(:channel, '')
    """
)

# Each of the two sources has a condition of its own.
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

_EXPIRE: Final = text(
    f"""
    WITH expired AS (
        UPDATE fcm_dispatches SET status = 'expired', lease_until = NULL
        WHERE request_id IN (
            SELECT request_id FROM fcm_dispatches
            WHERE status IN {sql_list(SOURCES["expired"])} AND expires_at <= now()
            LIMIT 1000 FOR UPDATE SKIP LOCKED
        )
        RETURNING request_id, command_request_id, device_id, action
    ), step AS (
        INSERT INTO dispatch_transitions (request_id, status) SELECT request_id, 'expired' FROM expired
    )
    SELECT e.*, c.http_request_id FROM expired AS e JOIN commands AS c ON c.request_id = e.command_request_id
    """  # noqa: S608 - composed of the constants above
)

# A claim that is being made is waited for, and withdrawn: the attempt goes on, and `record` moves nothing.
_WITHDRAW: Final = text(
    f"""
    WITH withdrawn AS (
        UPDATE fcm_dispatches SET
            status = 'failed', lease_until = NULL,
            http_code = NULL, fcm_status = :code, latency_ms = NULL, error_msg = :reason
        WHERE device_id = :device_id AND status IN {sql_list(SOURCES["failed"])}
        RETURNING request_id, action, attempts
    ), step AS (
        INSERT INTO dispatch_transitions (request_id, status, fcm_status, error_msg)
        SELECT request_id, 'failed', :code, :reason FROM withdrawn
    )
    SELECT * FROM withdrawn
    """  # noqa: S608 - composed of the constants above
)

# One statement judges the token, finds the device's own dispatch, completes it once and keeps the first completion.
_COMPLETE: Final = text(
    f"""
    WITH caller AS (
        SELECT device_id FROM devices
        WHERE device_id = :device_id AND token_version = :token_version AND retired_at IS NULL
    ), found AS (
        SELECT d.request_id, d.status, d.completed_at FROM fcm_dispatches AS d JOIN caller USING (device_id)
        WHERE d.request_id = :request_id FOR NO KEY UPDATE OF d
    ), done AS (
        UPDATE fcm_dispatches AS d SET
            status = 'completed', completed_at = now(), lease_until = NULL,
            outcome = :outcome, finished_at = CAST(:finished_at AS timestamptz),
            result_message = :message, result_data = CAST(:data AS jsonb)
        FROM found WHERE d.request_id = found.request_id AND found.status IN {sql_list(SOURCES["completed"])}
        RETURNING d.request_id, d.completed_at
    ), step AS (
        INSERT INTO dispatch_transitions (request_id, status) SELECT request_id, 'completed' FROM done
    )
    SELECT
        EXISTS (SELECT FROM caller) AS known,
        (SELECT coalesce((SELECT completed_at FROM done), completed_at) FROM found) AS completed_at,
        EXISTS (SELECT FROM found WHERE status = 'completed') AS replayed
    """  # noqa: S608 - composed of the constants above
)


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
    """Queue the dispatches `{request_id: device_id}` of a command, and notify on NEW_WORK at the commit."""
    # Of types asyncpg knows text[] alone as an array: uuid[] costs each connection 15 ms, when it asks what that is.
    targets = {"ids": list(devices), "devices": [str(device) for device in devices.values()]}
    await session.execute(_ENQUEUE, {**targets, "command": command, "channel": NEW_WORK, "payload_hash": payload_hash})


async def claim(db: Database, most: int, lease_s: float) -> list[Due]:
    """Take up to `most` dispatches that are due, or whose lease has run out, for `lease_s` seconds."""
    return [Due(**row) for row in await _commit(db, _CLAIM, {"free": most, "lease_s": lease_s})]


async def record(db: Database, request_id: str, attempt: Attempt, status: DispatchStatus, delay_s: float) -> bool:
    """Store what an attempt gave: `sent`, `failed`, or `queued` for another in `delay_s` seconds.

    Returns: False where the dispatch had ended before; the attempt is stored, the state stays.
    """
    parameters = {
        "request_id": request_id,
        "status": status,
        "delay_s": delay_s,
        "http_code": attempt.http_code,
        "fcm_code": attempt.fcm_code,
        "message_id": attempt.message_id,
        "latency_ms": attempt.latency_ms,
        "error_msg": attempt.error_msg,
        "response": orjson.dumps({"name": attempt.message_id}).decode() if attempt.message_id else None,
    }
    rows = await _commit(db, _RECORD, parameters)
    return bool(rows and rows[0]["moved"])


async def expire(db: Database) -> list[dict[str, Any]]:
    """End the dispatches whose time is over. Gives request_id, http_request_id, device_id and action of each."""
    return await _commit(db, _EXPIRE, {})


async def withdraw(session: AsyncSession, device_id: UUID, code: str, reason: str) -> list[RowMapping]:
    """Fail what the device was not yet sent. Gives request_id, action and attempts of each."""
    parameters = {"device_id": device_id, "code": code, "reason": reason}
    return list((await session.execute(_WITHDRAW, parameters)).mappings())


async def complete(session: AsyncSession, parameters: Mapping[str, Any]) -> Row[Any]:
    """Complete a dispatch of the device with this token version, once.

    Returns: `known` (the token is good), `completed_at` (None: the device has no such dispatch), `replayed`.
    """
    return (await session.execute(_COMPLETE, parameters)).one()


async def _commit(db: Database, statement: TextClause, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [row._asdict() for row in await db.run(statement, parameters)]
