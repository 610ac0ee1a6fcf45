"""What students were told against what stands in the ledger: checks V5 to V7, track by track. Pure functions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import floor, inf
from typing import Final, NamedTuple

from harness.sandboxes.calls import ALLOCATING, EXTEND, RELEASE, VIEW, Call
from harness.sandboxes.faults import Faults, nothing
from harness.verdict.artifacts import timestamp
from harness.verdict.thresholds import Check

V5: Final = ("V5", "each 201 is one row, each 200 is the row of its 201, each release has ended its row")
V6: Final = ("V6", "no row and no release that nobody asked for")
V7: Final = ("V7", "as many rows as 201s, but for calls without an answer")


class Allocation(NamedTuple):
    """A row of the ledger. Times are epoch seconds, whole ones in a service that keeps its rules."""

    sandbox_id: str
    track_id: str
    allocated_at: float
    expires_at: float
    grace_until: float
    ended_at: float | None
    end_reason: str | None


@dataclass
class _Sums:
    """Of V7: what was acknowledged with 201, the rows, and how many of these no 201 need be there for."""

    created: int = 0
    rows: int = 0
    unanswered: int = 0
    earlier: int = 0


def call_checks(calls: Sequence[Call], rows: Iterable[Allocation]) -> list[Check]:
    """V5 to V7. rows: those of the tracks of the calls, and of the sandboxes of the run's label.

    A row that is older than the first call of its track is not of this run: V6 and V7 leave it out. One whose track
    made no call is of this run, and nobody asked for it.
    """
    asked, held = defaultdict[str, list[Call]](list), defaultdict[str, list[Allocation]](list)
    for call in calls:
        asked[call.track_id].append(call)
    for row in rows:
        held[row.track_id].append(row)
    told, unasked, doubled, sums = Faults(), Faults(), Faults(), _Sums()
    for track_id in asked.keys() | held.keys():
        student = _Student(track_id, asked.get(track_id, []), held.get(track_id, []))
        told.extend(student.told_wrongly())
        unasked.extend(student.unasked())
        doubled.extend(student.created_twice())
        student.count(sums)
    missing = sums.created - (sums.rows - sums.unanswered - sums.earlier)
    if missing:
        doubled.add(f"{abs(missing):,} rows too {'few' if missing > 0 else 'many'}")
    acknowledged = sum(call.acknowledged for call in calls)
    counted = f"{sums.created:,} answers 201, {sums.rows:,} rows ({sums.unanswered:,} by calls without an answer, "
    return [
        told.check(*V5, f"{acknowledged:,} acknowledged calls") if acknowledged else nothing(*V5, "acknowledged call"),
        unasked.check(*V6, f"{sums.rows:,} rows") if sums.rows else nothing(*V6, "row of this run"),
        doubled.check(*V7, f"{counted}{sums.earlier:,} older than the calls)")
        if sums.rows or sums.created
        else nothing(*V7, "201 and no row"),
    ]


class _Student:
    """One track: its calls, in any order, and its rows."""

    def __init__(self, track_id: str, calls: list[Call], rows: list[Allocation]) -> None:
        self._track_id, self._calls, self._rows = track_id, calls, rows
        self._asks = [call for call in calls if call.kind in ALLOCATING]
        self._begun = floor(min(call.asked_at for call in calls)) if calls else -inf

    def told_wrongly(self) -> Iterator[str]:
        """Acknowledgements that the ledger does not keep."""
        held = Counter(row.sandbox_id for row in self._rows)
        by_id = {row.sandbox_id: row for row in self._rows}
        for call in self._calls:
            if not call.acknowledged or (call.kind == VIEW and not call.sandbox_id):
                continue
            row = by_id.get(call.sandbox_id)
            if row is None:
                problem = "there is no such row" if call.sandbox_id else "it names no sandbox"
            elif held[call.sandbox_id] > 1:
                problem = f"it stands {held[call.sandbox_id]} times"
            else:
                problem = self._differs(call, row)
            if problem:
                yield f"track {self._track_id}: {call.kind} of {call.sandbox_id or '?'} ({call.status}): {problem}"

    def _differs(self, call: Call, row: Allocation) -> str:
        if call.kind == RELEASE:
            return "" if row.end_reason == "released" else f"its row is {row.end_reason or 'live'}"
        said = call.allocated_at or call.expires_at or call.kind in ALLOCATING
        if said and call.allocated_at != row.allocated_at:
            return f"it said allocated_at {call.allocated_at}, the row says {row.allocated_at:.6f}"
        if said and not (
            call.expires_at == row.expires_at or (call.expires_at < row.expires_at and self._extended(row))
        ):
            return f"it said expires_at {call.expires_at}, the row says {row.expires_at:.6f}"
        if call.status == 200 and call.kind in ALLOCATING:
            if call.asked_at > row.grace_until:
                return "its grace was over"
            if self._released_before(call):
                return "it had been released"
        return ""

    def _extended(self, row: Allocation) -> bool:
        return any(
            call.kind == EXTEND
            and ((call.acknowledged and call.sandbox_id == row.sandbox_id) or call.unsure)  # which may name none
            for call in self._calls
        )

    def _released_before(self, replay: Call) -> bool:
        return any(
            call.kind == RELEASE
            and call.acknowledged
            and call.sandbox_id == replay.sandbox_id
            and call.ended_at < replay.asked_at
            for call in self._calls
        )

    def unasked(self) -> Iterator[str]:
        """Rows, and ends of rows, that no call explains."""
        for row in self._rows:
            if row.allocated_at >= self._begun and not self._created(row) and not self._unanswered(row):
                answers = ", ".join(str(call.status) for call in self._asks[:5]) or "none"
                when = timestamp(row.allocated_at)
                yield f"track {self._track_id} has {row.sandbox_id} since {when}; answers to it: {answers}"
            if row.end_reason == "released" and row.ended_at is not None and not self._gave_back(row, row.ended_at):
                yield f"track {self._track_id} has not released {row.sandbox_id}"

    def _created(self, row: Allocation) -> bool:
        return any(
            call.status == 201
            and call.sandbox_id == row.sandbox_id
            and floor(call.asked_at) <= row.allocated_at <= call.ended_at
            for call in self._asks
        )

    def _unanswered(self, row: Allocation) -> bool:
        """Whether a call may have made it that was not told so. It may have gone on after its client gave up."""
        return any(call.unsure and floor(call.asked_at) <= row.allocated_at for call in self._asks)

    def _gave_back(self, row: Allocation, ended_at: float) -> bool:
        return ended_at < self._begun or any(
            call.kind == RELEASE
            and call.sandbox_id == row.sandbox_id
            and (call.acknowledged or call.unsure)
            and floor(call.asked_at) <= ended_at
            for call in self._calls
        )

    def created_twice(self) -> Iterator[str]:
        """Sandboxes of more than one 201."""
        for sandbox_id, times in Counter(call.sandbox_id for call in self._asks if call.status == 201).items():
            if times > 1:
                yield f"track {self._track_id}: {times} x 201 for {sandbox_id}"

    def count(self, sums: _Sums) -> None:
        """Add this track to the sums."""
        created = {call.sandbox_id for call in self._asks if call.status == 201}
        sums.created += len(created)
        sums.rows += len(self._rows)
        for row in self._rows:
            if row.sandbox_id not in created:
                sums.earlier += row.allocated_at < self._begun
                sums.unanswered += row.allocated_at >= self._begun and self._unanswered(row)
