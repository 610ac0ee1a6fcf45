"""The sweep says of each 409 what a look at every moment would say."""

from __future__ import annotations

import random

import pytest

from harness.sandboxes.calls import ALLOCATE, EXTEND, WAIT, Call
from harness.sandboxes.free_moments import PLACE_S, Interval, free_check
from harness.verdict.thresholds import Status

EVER = float("inf")


def refused(asked_at: float, ended_at: float, kind: str = ALLOCATE) -> Call:
    return Call(kind, "t", asked_at, ended_at, 409)


def is_fault(call: Call, free: list[Interval], others: list[Call]) -> bool:
    """By the definition: at each moment of the call more was free than was promised to others."""
    moments = {call.asked_at, call.ended_at, *(at for interval in free for at in interval)}
    moments |= {at for one in others for at in (one.asked_at, one.ended_at, one.ended_at + PLACE_S)}
    return all(
        sum(start <= at < end for start, end in free)
        > sum(one.asked_at <= at <= one.ended_at + PLACE_S * one.unsure for one in others)
        for at in moments
        if call.asked_at <= at <= call.ended_at
    )


@pytest.mark.parametrize(
    "call, free, status",
    [
        (refused(10, 11), [], Status.PASS),
        (refused(10, 11), [(0, EVER)], Status.FAIL),
        (refused(10, 11), [(0, 10.5)], Status.PASS),
        (refused(10, 11), [(0, 11)], Status.PASS),
        (refused(10, 11), [(0, 11.1)], Status.FAIL),
        (refused(10, 11), [(10, 12)], Status.FAIL),
        (refused(10, 11), [(10.1, 12)], Status.PASS),
        (refused(10, 11), [(9, 10.5), (10.5, 12)], Status.FAIL),
        (refused(10, 11), [(9, 10.5), (10.6, 12)], Status.PASS),
        (refused(10, 11), [(9, 10.5), (10.4, 12)], Status.FAIL),
        (refused(10, 11), [(9, 8), (0, 1)], Status.PASS),
        (refused(10, 11, WAIT), [(0, EVER)], Status.FAIL),
        (refused(10, 11)._replace(kind=EXTEND), [(0, EVER)], Status.DISABLED),
        (refused(10, 11)._replace(status=503), [(0, EVER)], Status.DISABLED),
    ],
)
def test_what_was_free(call: Call, free: list[Interval], status: Status) -> None:
    assert free_check([call], free).status is status


@pytest.mark.parametrize(
    "waiting, status",
    [
        (Call(WAIT, "w", 9, 12, 201), Status.PASS),
        (Call(WAIT, "w", 9, 9.9, 201), Status.FAIL),
        (Call(WAIT, "w", 9, 10, 0), Status.PASS),
        (Call(WAIT, "w", 1, 2, 0), Status.FAIL),
        (Call(ALLOCATE, "w", 9, 12, 201), Status.FAIL),
    ],
)
def test_what_is_promised_is_not_free(waiting: Call, status: Status) -> None:
    assert free_check([refused(10, 11), waiting], [(0, 20)]).status is status


def test_it_agrees_with_a_look_at_every_moment() -> None:
    drawn = random.Random(1)
    seen = set[bool]()

    def interval(longest: int) -> Interval:
        start = drawn.randrange(40)
        return start, start + drawn.randrange(1, longest)

    for _ in range(400):
        free = [interval(20) for _ in range(drawn.randrange(6))]
        waits = [Call(WAIT, "w", *interval(9), drawn.choice([0, 201])) for _ in range(drawn.randrange(3))]
        call = refused(*interval(6), drawn.choice([ALLOCATE, WAIT]))
        wanted = is_fault(call, free, waits)
        assert (free_check([call, *waits], free).status is Status.FAIL) == wanted, (call, free, waits)
        seen.add(wanted)
    assert seen == {True, False}
