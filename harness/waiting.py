"""The one bounded wait of the project: call a check again and again until it holds or the time is up.

It offers no plain sleep: a caller says for what it waits, and for how long at most. It is also where a
signal handler can end what is going on: an exception raised at any odd moment could leave a lock taken for ever.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.05


class WaitTimeout(AssertionError):
    """The check did not hold in time. The message says what was awaited and what the check said last."""


class Interrupted(BaseException):
    """A signal asked for the end. Like KeyboardInterrupt it passes every `except Exception`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)


_pending: list[Interrupted] = []


def interrupt(number: int) -> None:
    """Let the wait that goes on now, or the next one, raise Interrupted, once. For signal handlers."""
    _pending.append(Interrupted(number))


def eventually(check: Callable[[], T], within_s: float, *, what: str = "") -> T:
    """Return the first truthy value of `check()`; raise WaitTimeout when there is none within `within_s` seconds.

    An AssertionError raised by `check` counts as "not yet" and its text ends up in the timeout's message, so a check
    may be a plain function with assertions that returns True. Every other exception passes through at once.
    The check is called at least once, and once more when the time is up. within_s may be infinite. Safe under gevent
    (it only uses time.sleep).
    """
    deadline = time.monotonic() + within_s
    pause_s = _FIRST_PAUSE_S
    while True:
        last = False
        if _pending:
            raise _pending.pop()
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            last = True
        said: object
        try:
            value = check()
        except AssertionError as error:
            said = str(error) or error
        else:
            if value:
                return value
            said = repr(value)
        if last:
            label = what or getattr(check, "__name__", "the check")
            raise WaitTimeout(f"{label} did not hold within {within_s:g} s; last answer: {said}")
        time.sleep(max(0.0, min(pause_s, remaining_s)))
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
