"""A queue within a process: a crowd may wait, what stands for longer than a second is kept short, and ends like new."""

from __future__ import annotations

import pytest

from nexmdm.kernel import standing_queue
from nexmdm.kernel.standing_queue import CROWD_S, PLACES_EACH, StandingQueue


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(standing_queue, "monotonic", clock)
    return clock


def test_for_a_second_there_is_room_for_a_crowd(clock: Clock) -> None:
    queue = StandingQueue("things", 2)
    for _ in range(500):
        assert not queue.is_full()
        queue.enter()
        clock.now += CROWD_S / 500
    clock.now = 100.0 + CROWD_S + 0.01
    assert queue.is_full()


def test_a_queue_that_stands_has_its_places_and_no_more(clock: Clock) -> None:
    queue = StandingQueue("things", 2)
    queue.enter()
    clock.now += 60.0
    for _ in range(PLACES_EACH * 2 - 1):
        assert not queue.is_full()
        queue.enter()
    assert queue.is_full()
    queue.leave()
    assert not queue.is_full()


def test_a_queue_that_was_empty_for_a_moment_is_new(clock: Clock) -> None:
    queue = StandingQueue("things", 1)
    for _ in range(2):
        for _ in range(PLACES_EACH * 3):
            assert not queue.is_full()
            queue.enter()
        clock.now += CROWD_S + 0.01
        assert queue.is_full()
        for _ in range(PLACES_EACH * 3):
            queue.leave()
