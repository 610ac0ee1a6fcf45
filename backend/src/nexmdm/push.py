"""The only module that knows Firebase: one attempt to send one message, its outcome as data. It decides no retry.

firebase-admin is used as it is, but for three private seams, all pinned by tests/test_push.py:
- its endpoint is a class constant; NEXMDM_FCM_BASE_URL moves it, which `settings` refuses beside a real account;
- its transport retries 500 and 503 four times by itself, which would hide attempts that must be on record;
- its authorisation fetches access tokens synchronously, on the event loop, when it has none and after every 401.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from time import perf_counter
from typing import Any, Final

import firebase_admin
import google.auth.exceptions
import google.auth.transport.requests
import httpx
from firebase_admin import credentials, exceptions, messaging
from firebase_admin._retry import HttpxRetry

from nexmdm.logs import new_id
from nexmdm.outbox import Attempt
from nexmdm.settings import Settings

_RETRYABLE: Final = (
    messaging.QuotaExceededError,
    exceptions.UnavailableError,
    exceptions.InternalError,
    exceptions.DeadlineExceededError,
    exceptions.ResourceExhaustedError,
    exceptions.UnauthenticatedError,  # our own access token: the next attempt brings a new one
    exceptions.UnknownError,  # a dropped connection arrives as this
)


class _Bearer(httpx.Auth):
    """Sends the access token that is there."""

    def __init__(self, credential: Any) -> None:
        self._credential = credential

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._credential.token}"
        yield request


class Push:
    """A sender, for one event loop. Close it there: firebase-admin's own way to close starts a loop of its own."""

    def __init__(self, settings: Settings) -> None:
        account = settings.service_account
        if account is None:
            raise ValueError("no service account")
        self._timeout_s = settings.fcm_timeout_s
        self._app = firebase_admin.initialize_app(
            credentials.Certificate(account), {"httpTimeout": settings.fcm_timeout_s}, name=new_id()
        )
        self._credential = self._app.credential.get_credential()
        self._refreshing = asyncio.Lock()
        service_class = messaging._MessagingService
        if settings.fcm_base_url is not None:
            service_class.FCM_URL = settings.fcm_base_url + "/v1/projects/{0}/messages:send"
        self._http = messaging._get_messaging_service(self._app)._async_client
        for transport in self._http._mounts.values():
            transport._retry = HttpxRetry(max_retries=0)
        self._http.async_client.auth = _Bearer(self._credential)

    async def aclose(self) -> None:
        """Close the connections to FCM."""
        await self._http.aclose()

    async def authorise(self) -> None:
        """Have a fresh access token, fetched in a thread: google-auth knows no asyncio.

        Raises:
            google.auth.exceptions.GoogleAuthError: the token endpoint is down or refuses.
        """
        if self._fresh():
            return
        async with self._refreshing:
            if not self._fresh():
                transport = partial(google.auth.transport.requests.Request(), timeout=self._timeout_s)
                await asyncio.to_thread(self._credential.refresh, transport)

    async def warm_up(self) -> None:
        """Fetch an access token before the first message needs one. A failure is left to the first message."""
        with suppress(google.auth.exceptions.GoogleAuthError):
            await self.authorise()

    def _fresh(self) -> bool:
        # token_state is STALE some minutes before the end, early enough for every request under way.
        return bool(self._credential.valid and self._credential.token_state.name == "FRESH")

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
                await self.authorise()
        except (TimeoutError, google.auth.exceptions.GoogleAuthError) as error:
            return Attempt("TOKEN_ENDPOINT", None, _since_ms(started), error_msg=type(error).__name__, retryable=True)
        # The clock starts again: what is recorded is FCM's latency, not that of the token endpoint.
        started = perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                batch = await messaging.send_each_async([message], app=self._app)
        except TimeoutError:
            return Attempt("DEADLINE_EXCEEDED", None, _since_ms(started), error_msg="no answer", retryable=True)
        answer = batch.responses[0]
        if answer.exception is None:
            return Attempt("OK", 200, _since_ms(started), message_id=answer.message_id)
        attempt = _failed(answer.exception, _since_ms(started))
        if attempt.fcm_code == "UNAUTHENTICATED":
            self._credential.token = None  # the next attempt fetches another
        return attempt


def _since_ms(started: float) -> float:
    return round((perf_counter() - started) * 1000, 3)


def _failed(error: exceptions.FirebaseError, latency_ms: float) -> Attempt:
    response = error.http_response
    return Attempt(
        fcm_code=_error_code(response) or str(error.code),
        http_code=response.status_code if response is not None else None,
        latency_ms=latency_ms,
        # The type alone where no answer came: a transport's text may name the token.
        error_msg=_error_message(response) or type(error).__name__,
        # A subclass of UnauthenticatedError, but it is Apple's or the web's key that is wrong: no retry mends that.
        retryable=isinstance(error, _RETRYABLE) and not isinstance(error, messaging.ThirdPartyAuthError),
        retry_after_s=_retry_after_s(response),
    )


def _error(response: Any) -> dict[str, Any]:
    try:
        error = response.json()["error"]
    except (AttributeError, ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}


def _error_code(response: Any) -> str | None:
    error = _error(response)
    details = error.get("details") or []
    codes = [detail["errorCode"] for detail in details if isinstance(detail, dict) and "errorCode" in detail]
    code = codes[0] if codes else error.get("status")
    return str(code)[:64] if code else None


def _error_message(response: Any) -> str | None:
    message = _error(response).get("message")
    return str(message)[:500].replace("\x00", "") if message else None


def _retry_after_s(response: Any) -> float | None:
    value = response.headers.get("retry-after", "") if response is not None else ""
    return float(value) if value.isascii() and value.isdigit() and len(value) < 6 else None
