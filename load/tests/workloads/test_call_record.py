"""The record of calls is the same after its way between processes, and parts of it add up."""

from __future__ import annotations

import msgpack  # type: ignore[import-untyped]  # it ships no types

from harness.sandboxes.calls import ALLOCATE, RELEASE, VIEW, Call
from load.workloads.call_record import CallRecord

CALLS = [
    Call(ALLOCATE, "run-0-1", 1000.25, 1000.5, 201, "load-a-1", 1000, 15400),
    Call(RELEASE, "run-0-1", 1001.0, 1011.0, 0, "load-a-1"),
    Call(VIEW, "run-0-2", 1002.0, 1002.5, 503, "load-a-2"),
]


def record(calls: list[Call]) -> CallRecord:
    made = CallRecord()
    for call in calls:
        made.add(call)
        made.outcomes[call.kind] += 1
    return made


def test_a_record_survives_its_way_between_processes() -> None:
    sent = msgpack.unpackb(msgpack.packb(record(CALLS).to_dict()))
    assert list(CallRecord.from_dict(sent).calls()) == CALLS
    assert CallRecord.from_dict(sent).outcomes == record(CALLS).outcomes


def test_parts_are_added() -> None:
    whole = record(CALLS[:1])
    whole.merge(record(CALLS[1:]))
    assert list(whole.calls()) == CALLS
    assert whole.outcomes == record(CALLS).outcomes
