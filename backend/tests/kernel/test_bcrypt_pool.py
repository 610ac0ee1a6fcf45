"""bcrypt: off the loop, at low priority, in a queue with an end, and whoever finds it full is told when to come."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

import bcrypt
import pytest

from nexmdm.kernel.bcrypt_pool import LONGEST_PAUSE_S, Hashing
from nexmdm.kernel.problems import Problem

SECRET = "s" * 43


async def test_the_loop_runs_on_while_bcrypt_works() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    assert await Hashing(10).matches(SECRET, await Hashing(10).hash(SECRET))
    ticking.cancel()
    assert ticks > 100, "the event loop stood still during bcrypt"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
async def test_its_threads_give_way_to_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def look(*_: object) -> bytes:
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return b"hash"

    monkeypatch.setattr(bcrypt, "hashpw", look)
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    await Hashing(10).hash(SECRET)
    assert seen[0] > ours
    assert os.getpriority(os.PRIO_PROCESS, 0) == ours


def test_the_queue_has_an_end_and_a_place_is_given_back() -> None:
    hashing = Hashing(10, slots=1)
    with hashing.slot():
        with pytest.raises(Problem) as full, hashing.slot():
            pass
        assert (full.value.code, full.value.status) == ("overloaded", 503)
    with pytest.raises(ZeroDivisionError), hashing.slot():
        raise ZeroDivisionError
    with hashing.slot():
        pass


def turned_away(count: int) -> list[int]:
    """What so many are told who all find the queue full."""
    hashing = Hashing(10, slots=0)
    pauses_s = []
    for _ in range(count):
        with pytest.raises(Problem) as full, hashing.slot():
            pass
        pauses_s.append(int(full.value.headers["Retry-After"]))
    return pauses_s


def test_those_who_are_turned_away_are_spread_over_the_time_that_they_take() -> None:
    pauses_s = turned_away(2_000)
    # Two threads at 60 ms: 33 of them a second, so the last comes after a minute.
    assert max(pauses_s[:100]) <= 5
    assert 25 <= min(pauses_s[-100:]) <= max(pauses_s[-100:]) <= 95


def test_nobody_is_sent_away_for_hours() -> None:
    pauses_s = turned_away(20_000)
    assert LONGEST_PAUSE_S / 2 <= min(pauses_s[-100:]) <= max(pauses_s[-100:]) <= LONGEST_PAUSE_S * 1.5
