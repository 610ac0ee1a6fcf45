"""Bursts are worked off; turns that stay long make a process refuse what comes late in each, until it is calm again."""

from __future__ import annotations

import asyncio

import pytest

from nexmdm.server.event_loop_lag import CALM_S, LATE_S, LEAST, SHARE_S, STANDING_S, TICK_S, EventLoopLag, measured

LONG_S = TICK_S + 2 * LATE_S


class Loop:
    """Turns of given lengths, each of which asks for so many requests, spread evenly over it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lag = EventLoopLag(self.now)

    def turn(self, length_s: float, requests: int = 0) -> int:
        """How many of the requests were one too many."""
        self.lag.tick(self.now)
        refused = sum(self.lag.is_over_budget(self.now + length_s * n / requests) for n in range(requests))
        self.now += length_s
        return refused

    def turns(self, total_s: float, length_s: float, requests: int = 0) -> int:
        return sum(self.turn(length_s, requests) for _ in range(int(total_s / length_s) + 1))


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_a_burst_is_worked_off_however_long_its_turn(loop: Loop) -> None:
    assert loop.turn(2.0, 10_000) == 0
    assert loop.turn(TICK_S, 1000) == 0


def test_turns_that_stay_long_refuse_what_comes_late_in_each(loop: Loop) -> None:
    assert loop.turns(STANDING_S - LONG_S, LONG_S, 1000) == 0
    loop.turns(2 * LONG_S, LONG_S)
    refused = loop.turn(LONG_S, 1000)
    assert refused == pytest.approx(1000 * (1 - SHARE_S / LONG_S), abs=2)


def test_short_turns_refuse_nothing_however_many_they_serve(loop: Loop) -> None:
    assert loop.turns(2.0, TICK_S, 1000) == 0


def test_a_few_requests_are_admitted_however_slow_the_machine(loop: Loop) -> None:
    loop.turns(2 * STANDING_S, LONG_S)
    assert loop.turn(LONG_S, LEAST) == 0
    assert loop.turn(LONG_S, LEAST + 1) == 1


def test_it_stays_strict_until_nothing_was_refused_for_a_while(loop: Loop) -> None:
    loop.turns(2 * STANDING_S, LONG_S, 1000)
    loop.turns(CALM_S - LONG_S - TICK_S, TICK_S)
    assert loop.turn(LONG_S, 1000) > 0, "short turns are what the refusals have bought"
    loop.turns(CALM_S + LONG_S, TICK_S)
    assert loop.turn(LONG_S, 1000) == 0


async def test_nothing_is_measured_while_nobody_asks_and_the_next_request_ends_that() -> None:
    now = 100.0
    lag = EventLoopLag(now)
    lag.is_over_budget(now)
    lag.tick(now)
    assert not lag.is_idle(now + CALM_S)
    lag.tick(now + 2 * CALM_S)  # late: no turn was measured in between
    assert not lag.is_idle(now + 2 * CALM_S)
    lag.tick(now + 2 * CALM_S + TICK_S)
    assert lag.is_idle(now + 2 * CALM_S + TICK_S)
    now += 60.0
    resting = asyncio.create_task(lag.rest(lambda: now))
    await asyncio.sleep(0)
    assert not resting.done()
    assert not lag.is_over_budget(now)
    async with asyncio.timeout(1.0):
        await resting
    for _ in range(int(2 * STANDING_S / TICK_S)):
        now += TICK_S
        lag.tick(now)
        assert not lag.is_idle(now)
    assert not any(lag.is_over_budget(now + LATE_S) for _ in range(2 * LEAST)), "the rest was no long turn"


async def test_a_loop_that_rests_ticks_again_when_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: list[float] = []
    monkeypatch.setattr(EventLoopLag, "tick", lambda _lag, now: ticks.append(now))
    monkeypatch.setattr(EventLoopLag, "is_idle", lambda _lag, _now: len(ticks) == 3)
    with measured() as lag:
        await asyncio.sleep(20 * TICK_S)
        assert len(ticks) == 3
        lag.is_over_budget(0.0)
        await asyncio.sleep(20 * TICK_S)
        assert len(ticks) > 3
