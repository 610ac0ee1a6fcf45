"""The dispatcher: takes due dispatches from the outbox, sends each, has every attempt recorded. It accepts no command.

A dispatch may end during its attempt: its device answers early, is retired or enrols again. The attempt is then added
without moving it back.

Delivery is at least once: a dispatcher that dies between FCM's answer and its own record leaves a lease that runs out,
and the message is sent once more. The payload carries the request_id, by which a device drops the second.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

import orjson

from nexmdm.fleet import dispatch_states, fcm_tokens, metrics, outbox
from nexmdm.fleet.dispatch_states import NEW_WORK, DispatchStatus, Due
from nexmdm.fleet.events import DISPATCH_EXPIRED, DISPATCH_FAIL, DISPATCH_RETRY, DISPATCH_SENT
from nexmdm.fleet.fcm import Push
from nexmdm.fleet.fcm_verdict import Attempt, Verdict
from nexmdm.fleet.settings import FleetSettings
from nexmdm.http.events import UNHANDLED_EXCEPTION
from nexmdm.kernel.database import Database, report_outage
from nexmdm.kernel.log import Origin, emit, origin
from nexmdm.kernel.notifications import OUTAGE_PAUSE_S, listen

POLL_S: Final = 1.0

_STATUS: Final[dict[Verdict, DispatchStatus]] = {
    Verdict.SENT: "sent",
    Verdict.RETRY: "queued",
    Verdict.FINAL: "failed",
    Verdict.TOKEN_DEAD: "failed",
}

T = TypeVar("T")


class _Stopped(Exception):
    """An outage outlasts us."""


class Dispatcher:
    """Sends until it is told to stop; `run` then waits for the attempts under way."""

    def __init__(self, db: Database, push: Push, settings: FleetSettings) -> None:
        self._db, self._push, self._settings = db, push, settings
        # An attempt takes at most two time-outs: the token endpoint's and FCM's. Then some, to record it.
        self._lease_s = 2 * settings.fcm_timeout_s + 5
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()
        self._more_wait = False  # dispatches may be due for which there was no room
        self._measured_at = -POLL_S

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; an outage of the database is waited out."""
        self._stop = stop
        self._push.warm_up()
        listener = asyncio.create_task(listen(self._db, NEW_WORK, lambda _: self._wake.set()), name="dispatch-listener")
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

    async def _measure(self) -> None:
        """What waits, for the metrics: once per poll, however often we are woken."""
        now = asyncio.get_running_loop().time()
        if now - self._measured_at >= POLL_S:
            self._measured_at = now
            waiting, oldest_s = await outbox.backlog(self._db)
            metrics.dispatches_waiting.set(waiting)
            metrics.oldest_wait.set(oldest_s)

    async def _wake_when(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _round(self) -> None:
        await self._measure()
        await self._expire()
        free = self._settings.dispatch_concurrency - len(self._sending)
        claimed = await dispatch_states.claim(self._db, free, self._lease_s) if free > 0 else []
        self._more_wait = len(claimed) >= free
        for due in claimed:
            task = asyncio.create_task(self._deliver(due), name=f"dispatch-{due.request_id}")
            self._sending.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if self._more_wait:
            self._wake.set()
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, _Stopped):
            emit(UNHANDLED_EXCEPTION, "error", error=type(error).__name__)

    async def _expire(self) -> None:
        for row in await dispatch_states.expire(self._db):
            metrics.dispatches.labels("expired").inc()
            emit(
                DISPATCH_EXPIRED,
                "warning",
                request_id=row["http_request_id"],
                dispatch_request_id=row["request_id"],
                device_id=str(row["device_id"]),
                action=row["action"],
            )

    async def _deliver(self, due: Due) -> None:
        origin.set(Origin(due.http_request_id, "worker:dispatch"))
        attempt = await self._attempt(due)
        status = _STATUS[attempt.verdict]
        delay_s = self._backoff_s(due, attempt) if status == "queued" else 0.0
        moved = await self._through_outages(lambda: self._record(due, attempt, status, delay_s))
        metrics.fcm_duration.observe(attempt.latency_ms / 1000)
        if moved and status != "queued":
            metrics.dispatches.labels(status).inc()
        if status == "queued":
            asyncio.get_running_loop().call_later(delay_s, self._wake.set)
        if moved or status != "queued":
            self._report(due, attempt, status, delay_s)

    async def _attempt(self, due: Due) -> Attempt:
        if due.fcm_token is None:
            return Attempt(Verdict.FINAL, "NO_TOKEN", None, 0.0, error_msg="the device has given no FCM token")
        if due.token_is_dead:
            return Attempt(Verdict.FINAL, "UNREGISTERED", None, 0.0, error_msg="the device's FCM token is dead")
        params = orjson.dumps(due.params).decode()
        data = {"request_id": due.request_id, "action": due.action, "params": params}
        return await self._push.send(due.fcm_token, data, due.ttl_s)

    async def _record(self, due: Due, attempt: Attempt, status: DispatchStatus, delay_s: float) -> bool:
        if attempt.verdict is Verdict.TOKEN_DEAD and due.fcm_token:
            # First, and in a transaction of its own: a withdrawal holds the device and waits for its dispatches.
            await fcm_tokens.mark_dead(self._db, due.device_id, due.fcm_token)
        return await dispatch_states.record(self._db, due.request_id, attempt, status, delay_s)

    def _backoff_s(self, due: Due, attempt: Attempt) -> float:
        settings = self._settings
        ceiling = min(settings.dispatch_backoff_cap_s, settings.dispatch_backoff_base_s * 2.0 ** min(due.retries, 32))
        jittered = ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
        # A pause that outlasts the command is as good as none: it expires first.
        return max(jittered, min(attempt.retry_after_s, due.ttl_s))

    def _report(self, due: Due, attempt: Attempt, status: DispatchStatus, delay_s: float) -> None:
        common: dict[str, Any] = {
            "dispatch_request_id": due.request_id,
            "device_id": str(due.device_id),
            "action": due.action,
            "attempt": due.attempts,
            "http_code": attempt.http_code,
            "latency_ms": attempt.latency_ms,
        }
        if status == "sent":
            emit(DISPATCH_SENT, fcm_message_id=attempt.message_id, **common)
        elif status == "queued":
            delay = round(delay_s, 3)
            emit(DISPATCH_RETRY, "warning", fcm_code=attempt.fcm_code, retry_in_s=delay, **common)
        else:
            emit(DISPATCH_FAIL, "error", fcm_code=attempt.fcm_code, **common)

    async def _through_outages(self, work: Callable[[], Awaitable[T]]) -> T:
        """Try until the database is there: what FCM has answered must be recorded, not lost.

        Raises:
            _Stopped: we are to end and the database is not there; the lease will run out.
        """
        while True:
            try:
                return await work()
            except Exception as error:
                report_outage(error)
                if self._stop.is_set():
                    raise _Stopped from error
                await asyncio.sleep(OUTAGE_PAUSE_S)
