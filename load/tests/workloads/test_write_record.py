"""What writes ask for, and what is a fault among what is found: each lie of the service about files, events, usage."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from load.workloads.write_record import (
    SIZE,
    Logged,
    Stored,
    Usage,
    WriteRecord,
    ZoneFound,
    event_faults,
    file_faults,
    path_of,
    texts,
    usage_faults,
)

SEED = 7
TEXTS = texts(SEED)


def stored(number: int) -> Stored:
    return Stored(path_of(number), SIZE, TEXTS[number % len(TEXTS)].etag)


def zone(*numbers: int) -> ZoneFound:
    """One in which these files were written, in this order."""
    files = sorted(map(stored, numbers))
    events = [Logged(place, "write", path_of(number)) for place, number in enumerate(numbers, 1)]
    usage = Usage(SIZE * len(files), len(files))
    return ZoneFound(files, events, usage, len(events), files, events, usage)


def record(acknowledged: set[int], unsure: set[int] = frozenset()) -> WriteRecord:  # type: ignore[assignment]  # empty
    return WriteRecord(acknowledged, set(unsure))


def faults(asked: WriteRecord, *found: ZoneFound) -> list[str]:
    return [*file_faults(asked, found, SEED), *event_faults(found), *usage_faults(found)]


def test_contents_are_of_one_size_and_follow_from_the_seed() -> None:
    assert TEXTS == texts(SEED) != texts(SEED + 1)
    assert {len(one.text.encode()) for one in TEXTS} == {1024}
    assert all(one.etag == hashlib.sha256(one.text.encode()).hexdigest() for one in TEXTS)
    assert len({one.etag for one in TEXTS}) == len(TEXTS)


def test_what_was_acknowledged_is_there_and_what_is_unsure_may_be() -> None:
    # Of two zones one has the even numbers, the other the odd ones.
    assert faults(record({0, 2, 4, 1}, {3, 5}), zone(2, 0, 4), zone(1, 3)) == []


def test_a_file_that_is_missing_or_that_nobody_wrote_is_a_fault() -> None:
    assert faults(record({0, 2}), zone(0)) == ["zone 0: 1 acknowledged writes without a file"]
    assert faults(record({0}), zone(0, 2)) == ["zone 0: 1 files that nobody wrote"]
    assert faults(record({0, 1}), zone(1), zone(0)) == [
        f"zone {n}: 1 {what}"
        for n in (0, 1)
        for what in ("acknowledged writes without a file", "files that nobody wrote")
    ], "in the wrong zone"


ONE = zone(3, 1, 2)
EVENTS = list(ONE.events)


@pytest.mark.parametrize(
    "wrong, fault",
    [
        ({"files": [Stored(path_of(1), SIZE, "0" * 64), *ONE.files[1:]]}, "1 files of another content"),
        ({"files": [Stored(path_of(1), SIZE - 1, ONE.files[0].etag), *ONE.files[1:]]}, "1 files of another content"),
        ({"listed": ONE.files[1:]}, "the list of files and the table differ: 2 and 3"),
        ({"listed": [*ONE.files, ONE.files[0]]}, "the list of files and the table differ: 4 and 3"),
        ({"events": EVENTS[:2], "replayed": EVENTS[:2]}, "2 events are not numbered 1 to 3"),
        ({"events": EVENTS[:2], "replayed": EVENTS[:2], "last_event": 2}, "1 files without an event of their own"),
        ({"events": [*EVENTS[:2], Logged(4, "write", path_of(2))]}, "3 events are not numbered 1 to 3"),
        ({"events": [*EVENTS, Logged(4, "write", path_of(2))], "last_event": 4}, "1 events of no file"),
        ({"events": [*EVENTS, Logged(4, "delete", path_of(2))], "last_event": 4}, "1 events of another type"),
        ({"replayed": EVENTS[::-1]}, "3 events are replayed, which are not those of the table"),
        ({"replayed": EVENTS[:2]}, "2 events are replayed, which are not those of the table"),
        ({"charged": Usage(3 * SIZE - 1, 3)}, "is charged for 3071 bytes of 3 files, but has 3072 of 3"),
        ({"charged": Usage(3 * SIZE, 4)}, "is charged for 3072 bytes of 4 files, but has 3072 of 3"),
        ({"shown": Usage(0, 0)}, "shows 0 bytes of 0 files, but has 3072 of 3"),
    ],
)
def test_a_lie_is_a_fault(wrong: dict[str, Any], fault: str) -> None:
    found = faults(record({1, 2, 3}), replace(ONE, **wrong))
    assert any(fault in one for one in found), found


def test_records_of_processes_add_up_and_survive_the_way() -> None:
    whole = WriteRecord({2**40, 1}, {5})
    whole.refusals["-32010 Quota exceeded"] += 2
    other = WriteRecord({3})
    other.refusals["-32010 Quota exceeded"] += 1
    whole.merge(WriteRecord.from_dict(other.to_dict()))
    assert WriteRecord.from_dict(whole.to_dict()) == whole
    assert whole.acknowledged == {1, 3, 2**40}
    assert whole.refusals == {"-32010 Quota exceeded": 3}
