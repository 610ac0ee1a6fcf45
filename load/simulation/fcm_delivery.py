"""What FCM does for a phone: hands each message to the device whose token it bears. It judges and answers nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gevent
from gevent.event import AsyncResult

from harness.fcm.server import FcmControl

Messages = Mapping[str, "AsyncResult[dict[str, Any]]"]

_POLL_S = 0.5
# A thousand messages that arrive one by one must not cost a thousand polls: the backend would pay for them, and a
# device takes a second or more anyway.
_PAUSE_S = 0.1


def awaited(tokens: Iterable[str]) -> Messages:
    """Registration token -> its message, once it has come."""
    return {token: AsyncResult() for token in tokens}


class Delivery:
    """Reads the inbox of a fake FCM from one message to the next, over any number of `carry`."""

    def __init__(self, fcm_url: str) -> None:
        self._fcm = FcmControl(fcm_url)
        self._after = 0

    def carry(self, messages: Messages) -> None:
        """Deliver until everybody has a message; kill it to end it before. Raises FcmError."""
        while not all(message.ready() for message in messages.values()):
            for attempt in self._fcm.inbox(after=self._after, wait_s=_POLL_S):
                self._after = max(self._after, int(attempt["seq"]))
                message = messages.get(attempt["token"])
                if message is not None and attempt["message_id"] is not None and not message.ready():
                    message.set(attempt)
            gevent.sleep(_PAUSE_S)
