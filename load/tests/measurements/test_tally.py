"""What several processes counted, added, is what one would have counted; and which rows it asks for."""

from __future__ import annotations

import msgpack  # type: ignore[import-untyped]  # it ships no types
from hypothesis import given
from hypothesis import strategies as st

from load.measurements.histogram import Timings
from load.measurements.tally import Tally
from load.workloads.heartbeat_rows import HeartbeatRows

BEATS = st.lists(
    st.tuples(st.integers(0, 30), st.floats(0, 30), st.floats(0, 12), st.sampled_from([200, 401, 503, 0])), max_size=60
)
Beats = list[tuple[int, float, float, int]]


def tally(beats: Beats) -> Tally:
    rows = HeartbeatRows()
    counted = Tally(Timings(1.0, 10.0), planned=len(beats), sent=len(beats), ledger=rows)
    for device, at, took, status in beats:
        ok = status == 200
        counted.answered += ok
        counted.lag.record(took / 100)
        if not ok:
            counted.others[f"status {status}"] += 1
        counted.timings.record("heartbeat", at, at + took, ok=ok)
        rows.record(device, int(at // 10), int((at + took) // 10), status)
    return counted


@given(BEATS, st.integers(1, 4))
def test_workers_together_tell_what_one_process_would(beats: Beats, processes: int) -> None:
    # As Locust sends it: msgpack.
    sent = [msgpack.packb(tally(beats[index::processes]).to_dict()) for index in range(processes)]
    first, *others = [
        Tally.from_dict(msgpack.unpackb(one, strict_map_key=False), HeartbeatRows.from_dict) for one in sent
    ]
    for other in others:
        first.merge(other)
    whole = tally(beats)
    for one in (first, whole):
        assert isinstance(one.ledger, HeartbeatRows)
        one.ledger.spans.sort()
    assert first.timings.course == whole.timings.course
    assert (first.lag, first.ledger, first.others) == (whole.lag, whole.ledger, whole.others)
    assert (first.planned, first.sent, first.answered) == (whole.planned, whole.sent, whole.answered)


def test_the_busiest_process_counts() -> None:
    one, other = Tally(Timings(1.0, 10.0), cpu=0.3, busiest=9), Tally(Timings(1.0, 10.0), cpu=0.95, busiest=2)
    one.merge(other)
    assert (one.cpu, one.busiest) == (0.95, 9)
