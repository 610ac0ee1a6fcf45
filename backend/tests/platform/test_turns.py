"""Turns within a zone: few changes at a time, whatever the crowd, and none that waits without end."""

from __future__ import annotations

import asyncio

import pytest

from nexmdm.kernel import standing_queue
from nexmdm.kernel.problems import Problem
from nexmdm.kernel.standing_queue import PLACES_EACH
from nexmdm.platform.turns import Turns


async def test_a_zone_has_few_at_a_time_and_another_zone_its_own() -> None:
    turns, inside, most, gate = Turns(2, 5.0), 0, 0, asyncio.Event()

    async def change(zone_id: str) -> None:
        nonlocal inside, most
        async with turns.turn(zone_id):
            inside += 1
            most = max(most, inside)
            await gate.wait()
            inside -= 1

    crowd = [asyncio.create_task(change("alpha")) for _ in range(10)]
    await asyncio.sleep(0.01)
    assert inside == 2
    other = asyncio.create_task(change("beta"))
    await asyncio.sleep(0.01)
    assert inside == 3
    gate.set()
    await asyncio.gather(*crowd, other)
    assert most == 3
    assert not turns._zones, "a zone that rests costs nothing"


async def test_who_waits_too_long_is_told_that_it_is_overloaded() -> None:
    turns = Turns(1, 0.01)
    async with turns.turn("alpha"):
        with pytest.raises(Problem) as refused:
            async with turns.turn("alpha"):
                pytest.fail("two at a time")
    assert refused.value.code == "overloaded"
    async with turns.turn("alpha"):
        pass
    assert not turns._zones


async def test_a_crowd_that_stands_is_kept_short_and_another_zone_does_not_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(standing_queue, "CROWD_S", 0.02)
    turns, gate = Turns(1, 5.0), asyncio.Event()

    async def change(zone_id: str) -> None:
        async with turns.turn(zone_id):
            await gate.wait()

    crowd = [asyncio.create_task(change("alpha")) for _ in range(PLACES_EACH)]
    await asyncio.sleep(0.05)
    with pytest.raises(Problem) as refused:
        await change("alpha")
    assert refused.value.code == "overloaded"
    other = asyncio.create_task(change("beta"))
    gate.set()
    await asyncio.gather(*crowd, other)
    assert not turns._zones
