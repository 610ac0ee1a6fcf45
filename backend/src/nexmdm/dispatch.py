"""The dispatcher: takes due dispatches from their table, sends each, records every attempt. It accepts no command.

States: queued -> sending -> sent -> completed, with queued again for a retry, and failed or expired as other ends. A
device that answers before its attempt is recorded makes the dispatch `completed` early; the attempt is then added
without moving it back.

Delivery is at least once: a dispatcher that dies between FCM's answer and its own record leaves a lease that runs out,
and the message is sent once more. The payload carries the request_id, by which a device drops the second. SKIP LOCKED
lets any number of dispatchers share the table; NOTIFY wakes them, and a poll finds what a lost notification had said.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

import asyncpg
import orjson
from sqlalchemy import RowMapping, TextClause, text

from nexmdm import metrics
from nexmdm.commands import NEW_WORK
from nexmdm.db import Database, is_unavailable
from nexmdm.logs import Event, Origin, emit, origin
from nexmdm.push import Attempt, Push
from nexmdm.settings import Settings

POLL_S: Final = 1.0
OUTAGE_PAUSE_S: Final = 0.5

T = TypeVar("T")

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

# `moved` is false where the device has answered meanwhile: the attempt is recorded, the state stays.
_RECORD: Final = text(
    """
    WITH recorded AS (
        UPDATE fcm_dispatches SET
            status = CASE WHEN status = 'sending' THEN :status ELSE status END,
            lease_until = NULL,
            sent_at = CASE WHEN :status = 'sent' THEN now() ELSE sent_at END,
            retries = retries + CASE WHEN :status = 'queued' THEN 1 ELSE 0 END,
            next_attempt_at = now() + make_interval(secs => :delay_s),
            http_code = :http_code, fcm_status = :fcm_code, fcm_message_id = :message_id,
            latency_ms = :latency_ms, error_msg = :error_msg, response_json = CAST(:response AS jsonb)
        WHERE request_id = :request_id AND status IN ('sending', 'completed')
        RETURNING request_id, status = :status AS moved
    ), step AS (
        INSERT INTO dispatch_transitions (request_id, status, http_code, fcm_status, latency_ms, error_msg)
        SELECT request_id, :status, :http_code, :fcm_code, :latency_ms, :error_msg FROM recorded
    ), dead AS (
        UPDATE devices SET fcm_token_dead_at = now(), updated_at = now()
        WHERE :token_is_dead AND device_id = :device_id AND fcm_token = :token AND fcm_token_dead_at IS NULL
    )
    SELECT moved FROM recorded
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


class _Stopped(Exception):
    """An outage outlasts us."""


class Dispatcher:
    """Sends until it is told to stop; `run` then waits for the attempts under way."""

    def __init__(self, db: Database, push: Push, settings: Settings) -> None:
        self._db, self._push, self._settings = db, push, settings
        # An attempt takes at most two time-outs: the token endpoint's and FCM's. Then some, to record it.
        self._lease_s = 2 * settings.fcm_timeout_s + 5
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; an outage of the database is waited out."""
        self._stop = stop
        await self._push.warm_up()
        listener = asyncio.create_task(self._listen(), name="dispatch-listener")
        stopping = asyncio.create_task(self._wake_when(stop))
        try:
            while not stop.is_set():
                self._wake.clear()
                with suppress(_Stopped):
                    await self._through_outages(self._round)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL_S)
        finally:
            listener.cancel()
            stopping.cancel()
            await asyncio.gather(listener, stopping, *self._sending, return_exceptions=True)

    async def _wake_when(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _round(self) -> None:
        await self._expire()
        free = self._settings.dispatch_concurrency - len(self._sending)
        if free <= 0:
            return  # an attempt that ends will wake us
        rows = await self._statement(_CLAIM, {"free": free, "lease_s": self._lease_s})
        for row in rows:
            task = asyncio.create_task(self._deliver(row), name=f"dispatch-{row['request_id']}")
            self._sending.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._wake.set()
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, _Stopped):
            emit(Event.INTERNAL_ERROR, "error", error=type(error).__name__)

    async def _expire(self) -> None:
        for row in await self._statement(_EXPIRE, {}):
            metrics.dispatches.labels("expired").inc()
            emit(
                Event.DISPATCH_EXPIRED,
                "warning",
                request_id=row["http_request_id"],
                dispatch_request_id=row["request_id"],
                device_id=str(row["device_id"]),
                action=row["action"],
            )

    async def _deliver(self, row: RowMapping) -> None:
        origin.set(Origin(row["http_request_id"], "worker:dispatch"))
        attempt = await self._attempt(row)
        status = "sent" if attempt.sent else "queued" if attempt.retryable else "failed"
        delay_s = self._backoff_s(row["retries"], attempt) if status == "queued" else 0.0
        moved = await self._through_outages(lambda: self._record(row, attempt, status, delay_s))
        metrics.fcm_duration.observe(attempt.latency_ms / 1000)
        if moved and status != "queued":
            metrics.dispatches.labels(status).inc()
        if status == "queued":
            asyncio.get_running_loop().call_later(delay_s, self._wake.set)
        self._report(row, attempt, status, delay_s)

    async def _attempt(self, row: RowMapping) -> Attempt:
        if row["fcm_token"] is None:
            return Attempt("NO_TOKEN", None, 0.0, error_msg="the device has given no FCM token")
        if row["token_is_dead"]:
            return Attempt("UNREGISTERED", None, 0.0, error_msg="the device's FCM token is dead")
        params = orjson.dumps(row["params"]).decode()
        data = {"request_id": row["request_id"], "action": row["action"], "params": params}
        return await self._push.send(row["fcm_token"], data, row["ttl_s"])

    def _backoff_s(self, retries: int, attempt: Attempt) -> float:
        settings = self._settings
        ceiling = min(settings.dispatch_backoff_cap_s, settings.dispatch_backoff_base_s * 2.0 ** min(retries, 32))
        return max(ceiling * random.uniform(0.5, 1.0), attempt.retry_after_s or 0.0)

    async def _record(self, row: RowMapping, attempt: Attempt, status: str, delay_s: float) -> bool:
        rows = await self._statement(
            _RECORD,
            {
                "request_id": row["request_id"],
                "device_id": row["device_id"],
                "token": row["fcm_token"] or "",
                "token_is_dead": attempt.token_is_dead,
                "status": status,
                "delay_s": delay_s,
                "http_code": attempt.http_code,
                "fcm_code": attempt.fcm_code,
                "message_id": attempt.message_id,
                "latency_ms": attempt.latency_ms,
                "error_msg": attempt.error_msg,
                "response": orjson.dumps({"name": attempt.message_id}).decode() if attempt.sent else None,
            },
        )
        return bool(rows and rows[0]["moved"])

    def _report(self, row: RowMapping, attempt: Attempt, status: str, delay_s: float) -> None:
        common = {
            "dispatch_request_id": row["request_id"],
            "device_id": str(row["device_id"]),
            "action": row["action"],
            "attempt": row["attempts"],
            "http_code": attempt.http_code,
            "latency_ms": attempt.latency_ms,
        }
        if status == "sent":
            emit(Event.DISPATCH_SENT, fcm_message_id=attempt.message_id, **common)
        elif status == "queued":
            delay = round(delay_s, 3)
            emit(Event.DISPATCH_RETRY, "warning", fcm_code=attempt.fcm_code, retry_in_s=delay, **common)
        else:
            emit(Event.DISPATCH_FAIL, "error", fcm_code=attempt.fcm_code, **common)

    async def _statement(self, statement: TextClause, parameters: dict[str, Any]) -> list[RowMapping]:
        async with self._db.engine.begin() as connection:
            return list((await connection.execute(statement, parameters)).mappings())

    async def _through_outages(self, work: Callable[[], Awaitable[T]]) -> T:
        """Try until the database is there: what FCM has answered must be recorded, not lost.

        Raises:
            _Stopped: we are to end and the database is not there; the lease will run out.
        """
        while True:
            try:
                return await work()
            except Exception as error:
                if not is_unavailable(error):
                    raise
                emit(Event.DEPENDENCY_UNAVAILABLE, "error", dependency="database", error=type(error).__name__)
                if self._stop.is_set():
                    raise _Stopped from error
                await asyncio.sleep(OUTAGE_PAUSE_S)

    async def _listen(self) -> None:
        while True:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                connection = await self._db.connect()
                try:
                    await self._listen_on(connection)
                finally:
                    connection.terminate()
            await asyncio.sleep(OUTAGE_PAUSE_S)

    async def _listen_on(self, connection: asyncpg.Connection[Any]) -> None:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(NEW_WORK, lambda *_: self._wake.set())
        self._wake.set()  # what was queued before we listened
        await lost.wait()
