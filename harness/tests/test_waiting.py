"""`eventually` returns what it waited for and fails, with a reason, when that does not come.

It measures no precise times: a loaded machine is slow.
"""

from __future__ import annotations

import itertools
import math
import signal
import threading
import time

import pytest

from harness.waiting import Interrupted, WaitTimeout, eventually, interrupt


def test_returns_the_first_truthy_value() -> None:
    answers = iter([None, 0, "", "ready", "later"])
    assert eventually(lambda: next(answers), 5) == "ready"


def test_gives_up_in_time_and_says_what_came_last() -> None:
    begun = time.monotonic()
    with pytest.raises(WaitTimeout, match=r"^the answer did not hold within 0.05 s; last answer: \[\]$"):
        eventually(list, 0.05, what="the answer")
    assert time.monotonic() - begun < 2


def test_a_failed_assertion_counts_as_not_yet_and_is_shown() -> None:
    def three() -> bool:
        assert False, "rows: 2 of 3"  # noqa: B011, PT015 - stands for any assertion

    with pytest.raises(WaitTimeout, match="rows: 2 of 3"):
        eventually(three, 0.02)


def test_another_error_ends_the_wait_at_once() -> None:
    calls = itertools.count()

    def broken() -> bool:
        next(calls)
        raise KeyError("typo")

    with pytest.raises(KeyError):
        eventually(broken, 5)
    assert next(calls) == 1


def test_checks_once_even_when_there_is_no_time() -> None:
    assert eventually(lambda: True, 0)
    with pytest.raises(WaitTimeout):
        eventually(lambda: False, 0)


def test_an_interruption_ends_the_wait_that_goes_on_and_only_that() -> None:
    later = threading.Timer(0.1, interrupt, (signal.SIGTERM,))
    later.start()
    begun = time.monotonic()
    with pytest.raises(Interrupted) as caught:
        eventually(lambda: False, math.inf)
    assert time.monotonic() - begun < 5
    assert caught.value.number == signal.SIGTERM
    assert eventually(lambda: True, 0)


def test_an_interruption_before_the_wait_is_not_lost() -> None:
    interrupt(signal.SIGINT)
    with pytest.raises(Interrupted):
        eventually(lambda: True, 5)
