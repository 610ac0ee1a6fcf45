"""The part of the audit that is about sandboxes: a ledger against allocations, the pool, and the provider's journal.

A track of the ledger asks for one sandbox, as often as it likes: once it gave that back it does not come again.

    allocation  each acknowledgement names a sandbox, as the track has or had it; no sandbox has two tracks, ever
    release     the allocation ended as it was told, and its sandbox is on its way to be deleted, or is
    deletion    the provider was asked for what somebody had had and no longer has, and for all of that
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, LiteralString, NamedTuple, cast

import psycopg

from harness.oracles.findings import Findings
from harness.oracles.history import Entry, Ledger

Promise = tuple[str, int | None]  # the sandbox, and since when: what an acknowledged allocation says
EXPIRED: Final = "expired"  # what a release is told whose allocation had run out
_LATER: Final = ("pending_deletion", "deleting", "deletion_failed", "deleted")
_SQL: Final[LiteralString] = """
    SELECT sandbox_id, s.status, s.external_id, a.track_id, extract(epoch FROM a.allocated_at)::bigint,
        extract(epoch FROM a.ended_at)::bigint, a.end_reason, coalesce(a.ended_at < a.grace_until, false)
    FROM sandboxes AS s LEFT JOIN allocations AS a USING (sandbox_id)
    WHERE a.allocation_id IS NOT NULL OR s.status NOT IN ('available', 'stale')
"""


class Row(NamedTuple):
    """A sandbox that is no longer free, and its allocation, if it has one. Times are epoch seconds."""

    sandbox_id: str
    status: str
    external_id: str
    track_id: str | None
    allocated_at: int | None
    ended_at: int | None
    end_reason: str | None
    in_time: bool  # whether it ended before its time was over

    @property
    def live(self) -> bool:
        return self.track_id is not None and self.ended_at is None


def read(connection: psycopg.Connection[Any]) -> list[Row]:
    """Every allocation with its sandbox, and sandboxes that are used up without one."""
    return [Row(*row) for row in connection.execute(_SQL).fetchall()]


def compare(
    ledger: Ledger,
    rows: Sequence[Row],
    before: Sequence[Row],
    deletions: Sequence[Mapping[str, Any]] | None,
    found: Findings,
) -> None:
    """Add the differences. `before`: rows that are nobody's; `deletions`: as the provider's fake tells them."""
    nobodys = {row.sandbox_id for row in before}
    new = [row for row in rows if row.sandbox_id not in nobodys]
    _allocations(ledger.entries("allocation"), new, found)
    _once(ledger.entries("allocation"), new, found)
    _releases(ledger.entries("release"), new, found)
    _states(new, found)
    if deletions is not None:
        _deletions(deletions, new, found, times_agree=not ledger.moves)


def _allocations(entries: Sequence[Entry], rows: Sequence[Row], found: Findings) -> None:
    had: dict[str, set[Promise]] = defaultdict(set)
    for row in rows:
        had[row.track_id or ""].add((row.sandbox_id, row.allocated_at))
    for entry in entries:
        for sandbox_id, at in _promised(entry) - had[entry.key]:
            has = ", ".join(sorted(f"{one} at {then}" for one, then in had[entry.key])) or "nothing"
            found.missing.append(f"allocation {entry.key}: acknowledged as {sandbox_id} at {at}, has {has}")
    asked = {entry.key for entry in entries}
    told = {(entry.key, sandbox_id) for entry in entries for sandbox_id, _ in _promised(entry)}
    for row in rows:
        if row.track_id is not None and row.track_id not in asked:
            found.unasked.append(f"allocation {row.track_id}: nobody asked for it")
        elif row.track_id is not None and (row.track_id, row.sandbox_id) not in told:
            found.landed.append(f"allocation {row.track_id}")


def _once(entries: Sequence[Entry], rows: Sequence[Row], found: Findings) -> None:
    """A sandbox has one track, in the ledger and in what clients were told; a track has one sandbox."""
    given = [(row.sandbox_id, row.track_id) for row in rows if row.track_id is not None]
    tracks: dict[str, set[str]] = defaultdict(set)
    for sandbox_id, track_id in [*given, *((one, entry.key) for entry in entries for one, _ in _promised(entry))]:
        tracks[sandbox_id].add(track_id)
    for sandbox_id, all_of_them in tracks.items():
        if len(all_of_them) > 1:
            found.doubled.append(f"allocation of {sandbox_id}: given to {', '.join(sorted(all_of_them))}")
    again = [f"{track_id}: has {sandbox_id} twice" for (sandbox_id, track_id), n in Counter(given).items() if n > 1]
    kept = Counter(row.track_id for row in rows if row.track_id is not None and row.end_reason != EXPIRED)
    again += [f"{track_id}: has had {times} sandboxes" for track_id, times in kept.items() if times > 1]
    found.doubled += [f"allocation {said}" for said in again]


def _promised(entry: Entry) -> set[Promise]:
    return cast(set[Promise], set(entry.said or ()))


def _releases(entries: Sequence[Entry], rows: Sequence[Row], found: Findings) -> None:
    ended = {row.sandbox_id: row for row in rows if row.ended_at is not None}
    for entry in entries:
        row = ended.get(entry.key)
        if entry.said is None:
            continue
        if row is None:
            found.missing.append(f"release {entry.key}: acknowledged, and its allocation has not ended")
            continue
        [told] = entry.said
        is_so = EXPIRED if row.end_reason == EXPIRED else row.ended_at
        if told != is_so:
            found.missing.append(f"release {entry.key}: acknowledged as {told}, is {is_so}")
    asked = {entry.key for entry in entries}
    told_so = {entry.key for entry in entries if entry.acknowledged}
    for row in ended.values():
        if row.end_reason == EXPIRED and row.in_time:
            found.unasked.append(f"release {row.sandbox_id}: ended as expired before its time")
        elif row.end_reason != EXPIRED and row.sandbox_id not in asked:
            found.unasked.append(f"release {row.sandbox_id}: nobody asked for it")
        elif row.end_reason != EXPIRED and row.sandbox_id not in told_so:
            found.landed.append(f"release {row.sandbox_id}")


def _states(rows: Sequence[Row], found: Findings) -> None:
    """What the pool says of a sandbox against what the ledger of allocations says."""
    for row in rows:
        if row.live and row.status != "allocated":
            found.missing.append(f"allocation {row.track_id}: has {row.sandbox_id}, which is {row.status}")
        elif row.status == "allocated" and not row.live:
            found.unasked.append(f"allocation of {row.sandbox_id}: allocated, and no track has it")
        elif row.ended_at is not None and row.status not in _LATER:
            found.missing.append(f"release {row.sandbox_id}: it ended, and the sandbox is {row.status}")


def _deletions(calls: Sequence[Mapping[str, Any]], rows: Sequence[Row], found: Findings, *, times_agree: bool) -> None:
    """times_agree: whether the provider's clock is that of the database."""
    by_id = {row.external_id.rpartition("/")[2]: row for row in rows}
    gone = set()
    for call in calls:
        row = by_id.get(call["id"])
        if row is None:
            found.unasked.append(f"deletion {call['id']}: of a sandbox that nobody has had")
        elif row.ended_at is None or (times_agree and call["at"] < row.ended_at):
            found.unasked.append(f"deletion {row.sandbox_id}: asked for while {row.track_id} had it")
        elif call["effect"] or call["status"] == 404:
            gone.add(row.sandbox_id)
    for row in rows:
        if row.status == "deleted" and row.sandbox_id not in gone:
            found.missing.append(f"deletion {row.sandbox_id}: deleted, and the provider still has it")
        elif row.ended_at is not None and row.status != "deleted":
            found.missing.append(f"deletion {row.sandbox_id}: still {row.status}")
