"""The only module that knows Firebase: one attempt to send one message, its outcome as data. It decides no retry.

firebase-admin is used as it is, but for two private seams, both pinned by tests/fleet/test_fcm.py:
- its endpoint is a class constant; NEXMDM_FCM_BASE_URL moves it, which `settings` refuses beside a real account;
- its HTTP client is replaced by `_Client`. Its own one retries 500 and 503 four times, which would hide attempts that
  must be on record; fetches access tokens on the event loop; knows no proxy; and hands answers to a parser that raises
  on many of them (HTML with 200, `{"error": "text"}`, what is not UTF-8). So `fcm_verdict` reads the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any, Final

import firebase_admin
import httpx
from firebase_admin import credentials, messaging

from nexmdm.fleet import fcm_verdict
from nexmdm.fleet.access_token import AccessError, AccessToken
from nexmdm.fleet.fcm_verdict import Attempt, Verdict
from nexmdm.fleet.settings import FleetSettings
from nexmdm.kernel.egress import transport_to
from nexmdm.kernel.log import new_id
from nexmdm.kernel.retry_after import retry_after_s

_MOST_BYTES: Final = 65_536  # of an answer; FCM's have a few hundred


@dataclass(slots=True)
class _Exchange:
    """One request to FCM, and its answer as it came. `status` is None where none came, and `failure` says why."""

    access_token: str
    status: int | None = None
    retry_after: str = ""
    body: bytes = b""
    failure: str | None = None


_exchange: ContextVar[_Exchange] = ContextVar("exchange")


class _Client:
    """In place of firebase-admin's HttpxAsyncClient: fills the exchange of the running attempt, and retries nothing."""

    def __init__(self, url: str) -> None:
        transport = transport_to(url, http2=True)
        self._http = httpx.AsyncClient(transport=transport, timeout=None)  # noqa: S113 - `send` bounds the whole

    async def request(self, method: str, url: str, *, headers: dict[str, str], json: Any) -> httpx.Response:
        """What firebase-admin calls."""
        exchange = _exchange.get()
        authorised = headers | {"Authorization": f"Bearer {exchange.access_token}"}
        try:
            async with self._http.stream(method, url, headers=authorised, json=json) as response:
                exchange.status = response.status_code
                exchange.retry_after = response.headers.get("retry-after", "")
                async for part in response.aiter_bytes():
                    exchange.body += part
                    if len(exchange.body) > _MOST_BYTES:
                        break
        except Exception as error:
            exchange.failure = type(error).__name__
            raise
        return httpx.Response(response.status_code, content=exchange.body, request=response.request).raise_for_status()

    async def aclose(self) -> None:
        """Close the connections; a second time it does nothing."""
        await self._http.aclose()


class Push:
    """A sender, for one event loop. Close it there."""

    def __init__(self, settings: FleetSettings) -> None:
        account = settings.service_account
        if account is None:
            raise ValueError("no service account")
        self._timeout_s = settings.fcm_timeout_s
        self._app = firebase_admin.initialize_app(credentials.Certificate(account), name=new_id())
        self._access = AccessToken(self._app.credential.get_credential(), settings.fcm_timeout_s)
        messaging._MessagingService.FCM_URL = settings.fcm_url + "/v1/projects/{0}/messages:send"
        self._client = _Client(settings.fcm_url)
        messaging._get_messaging_service(self._app)._async_client = self._client

    async def aclose(self) -> None:
        """Close the connections to FCM."""
        await self._client.aclose()
        # It closes the client once more, in a loop of its own: from a thread, since there is a loop here.
        await asyncio.to_thread(firebase_admin.delete_app, self._app)

    def warm_up(self) -> None:
        """Begin to fetch an access token before the first message needs one."""
        self._access.prepare()

    async def send(self, token: str, data: Mapping[str, str], ttl_s: float) -> Attempt:
        """One attempt, bounded in time. Never raises for anything that FCM or the network does."""
        message = messaging.Message(
            token=token,
            data=dict(data),
            android=messaging.AndroidConfig(priority="high", ttl=timedelta(seconds=max(0.0, ttl_s))),
        )
        started = perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                exchange = _Exchange(await self._access.current())
        except (TimeoutError, AccessError) as error:
            reason = str(error) or type(error).__name__
            return Attempt(Verdict.RETRY, "TOKEN_ENDPOINT", None, _since_ms(started), error_msg=reason)
        _exchange.set(exchange)
        # The clock starts again: what is recorded is FCM's latency, not that of the token endpoint.
        started = perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                await messaging.send_each_async([message], app=self._app)
        except TimeoutError:
            return Attempt(Verdict.RETRY, "DEADLINE_EXCEEDED", None, _since_ms(started), error_msg="no answer")
        except Exception as error:  # noqa: BLE001 - its parser raises what it likes; the answer has been kept
            exchange.failure = exchange.failure or type(error).__name__
        return self._read(exchange, _since_ms(started))

    def _read(self, exchange: _Exchange, latency_ms: float) -> Attempt:
        status = exchange.status
        if status is None:
            # The type alone: a transport's text may name the token.
            return Attempt(Verdict.RETRY, "NO_ANSWER", None, latency_ms, error_msg=exchange.failure)
        found = fcm_verdict.judge(status, exchange.body)
        if status == 401 and found.verdict is Verdict.RETRY:
            self._access.refused(exchange.access_token)
        return Attempt(
            found.verdict,
            found.code,
            status if status <= 599 else None,  # as the column and HTTP have it
            latency_ms,
            message_id=found.message_id,
            error_msg=found.text,
            retry_after_s=retry_after_s(exchange.retry_after, datetime.now(UTC)),
        )


def _since_ms(started: float) -> float:
    return round((perf_counter() - started) * 1000, 3)
