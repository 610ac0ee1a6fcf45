"""Whether a 409 was true: V8, a sweep over the times at which sandboxes were free. Pure functions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import groupby
from math import inf, nextafter
from operator import itemgetter
from typing import Final

from harness.sandboxes.calls import ALLOCATING, WAIT, Call
from harness.sandboxes.faults import Faults, nothing
from harness.verdict.artifacts import timestamp
from harness.verdict.thresholds import Check

V8: Final = ("V8", "while each 409 was decided, there was a moment with nothing free")
PLACE_S: Final = 3.0  # a place in the queue outlives the process of its request by so much

Interval = tuple[float, float]


def refusals(calls: Iterable[Call]) -> list[Call]:
    """The calls that were told that nothing is free."""
    return [call for call in calls if call.status == 409 and call.kind in ALLOCATING]


def free_check(calls: Sequence[Call], free: Iterable[Interval]) -> Check:
    """V8. free: of each sandbox of the pool, when it was to be had: from the first moment up to before the second.

    A request in the queue is promised a sandbox while it waits: what is free counts less these. Which of them came
    first is not known, so that each counts before all others, and before requests that do not wait.
    """
    refused = refusals(calls)
    if not refused:
        return nothing(*V8, "409")
    changes = [change for start, end in free if start < end for change in ((start, 1), (end, -1))]
    for call in calls:
        if call.kind == WAIT:
            changes += (call.asked_at, -1), (nextafter(call.ended_at + PLACE_S * call.unsure, inf), 1)
    changes.sort()
    dry, dry_but_for_one = _dry(changes, 0), _dry(changes, -1)
    faults = Faults()
    for call in refused:
        begins, ends = dry_but_for_one if call.kind == WAIT else dry  # its own place is none before it
        last = bisect_right(begins, call.ended_at) - 1
        if last < 0 or ends[last] <= call.asked_at:
            faults.add(f"track {call.track_id}, from {timestamp(call.asked_at)} to {timestamp(call.ended_at)}")
    return faults.check(*V8, f"{len(refused):,} answers 409")


def _dry(changes: list[tuple[float, int]], most: int) -> tuple[list[float], list[float]]:
    """When the level was `most` or less: where that began, and where it ended. Sorted, and apart from each other."""
    begins, ends = [-inf] if most >= 0 else [], list[float]()
    level = 0
    for at, group in groupby(changes, key=itemgetter(0)):
        level += sum(change for _, change in group)
        if level <= most and len(begins) == len(ends):
            begins.append(at)
        elif level > most and len(begins) > len(ends):
            ends.append(at)
    if len(begins) > len(ends):
        ends.append(inf)
    return begins, ends
