"""The access token that sends to FCM carry: renewed ahead of its end, and one renewal for all who need it.

google-auth fetches it in a thread, since it knows no asyncio.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import Any, Final

import google.auth.transport.requests
from google.auth.credentials import TokenState

from nexmdm.kernel.events import DEPENDENCY_AWAY
from nexmdm.kernel.log import emit

_AHEAD_PAUSE_S: Final = 1.0  # a token that lives for less than google-auth's 225 s is always to be renewed
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e]+")


class AccessError(Exception):
    """No access token is to be had. Its text is the type of what went wrong, never an answer."""


class AccessToken:
    """The token of one google-auth credential, for one event loop."""

    def __init__(self, credential: Any, timeout_s: float) -> None:
        self._credential = credential
        self._transport = partial(google.auth.transport.requests.Request(), timeout=timeout_s)
        self._renewal: asyncio.Task[str | None] | None = None
        self._renew_ahead_at = 0.0

    async def current(self) -> str:
        """A token that is good now; waits for a renewal only when there is none.

        Raises:
            AccessError: the token endpoint is down, refuses or talks nonsense.
        """
        state = self._credential.token_state
        if state is TokenState.INVALID:
            failure = await asyncio.shield(self._renewing())  # who gives up waiting leaves it to the others
            if failure is not None:
                raise AccessError(failure)
        elif state is TokenState.STALE and asyncio.get_running_loop().time() >= self._renew_ahead_at:
            self._renewing()
        return str(self._credential.token)

    def prepare(self) -> None:
        """Begin to fetch a token, before the first message needs one."""
        self._renewing()

    def refused(self, token: str) -> None:
        """FCM has not taken this token: the next who asks gets another. The first of several refusals counts."""
        if token == self._credential.token:
            self._credential.token = None

    def _renewing(self) -> asyncio.Task[str | None]:
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew(), name="access-token")
        return self._renewal

    async def _renew(self) -> str | None:
        """Renew the token. Returns the type of what went wrong: nobody may be waiting whom an exception would reach."""
        try:
            await asyncio.to_thread(self._credential.refresh, self._transport)
            token = self._credential.token
            if not (isinstance(token, str) and _HEADER_VALUE.fullmatch(token)):
                self._credential.token = None
                raise ValueError("no access token")  # noqa: TRY301 - as google-auth does where it looks
        except Exception as error:  # noqa: BLE001 - google-auth lets through what its parsing of an answer raises
            failure = type(error).__name__
            emit(DEPENDENCY_AWAY, "warning", dependency="fcm", error=f"access token: {failure}")
            return failure
        finally:
            self._renewal = None
            self._renew_ahead_at = asyncio.get_running_loop().time() + _AHEAD_PAUSE_S
        return None
