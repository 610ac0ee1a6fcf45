"""What several processes counted, added, is what one would have counted; and which rows it asks for."""

from __future__ import annotations

import msgpack  # type: ignore[import-untyped]  # it ships no types
from hypothesis import given
from hypothesis import strategies as st

from load.measurements.histogram import Timings
from load.measurements.tally import Rows, Tally, pair

BEATS = st.lists(
    st.tuples(st.integers(0, 30), st.floats(0, 30), st.floats(0, 12), st.sampled_from([200, 401, 503, 0])), max_size=60
)
Beats = list[tuple[int, float, float, int]]


def tally(beats: Beats) -> Tally:
    counted = Tally(Timings(1.0, 10.0), planned=len(beats), sent=len(beats))
    for device, at, took, status in beats:
        ok = status == 200
        counted.answered += ok
        counted.lag.record(took / 100)
        if not ok:
            counted.others[f"status {status}"] += 1
        counted.timings.record("heartbeat", at, at + took, ok=ok)
        counted.rows.record(device, int(at // 10), int((at + took) // 10), status)
    return counted


@given(BEATS, st.integers(1, 4))
def test_workers_together_tell_what_one_process_would(beats: Beats, processes: int) -> None:
    # As Locust sends it: msgpack.
    sent = [msgpack.packb(tally(beats[index::processes]).to_dict()) for index in range(processes)]
    first, *others = [Tally.from_dict(msgpack.unpackb(one, strict_map_key=False)) for one in sent]
    for other in others:
        first.merge(other)
    first.rows.spans.sort()
    whole = tally(beats)
    whole.rows.spans.sort()
    assert first.timings.course == whole.timings.course
    assert (first.lag, first.rows, first.others) == (whole.lag, whole.rows, whole.others)
    assert (first.planned, first.sent, first.answered) == (whole.planned, whole.sent, whole.answered)


def test_the_busiest_process_counts() -> None:
    one, other = Tally(Timings(1.0, 10.0), cpu=0.3, busiest=9), Tally(Timings(1.0, 10.0), cpu=0.95, busiest=2)
    one.merge(other)
    assert (one.cpu, one.busiest) == (0.95, 9)


def rows(*beats: tuple[int, int, int, int]) -> Rows:
    asked = Rows()
    for beat in beats:
        asked.record(*beat)
    return asked


def test_rows_as_sent_have_no_fault() -> None:
    asked = rows((1, 5, 5, 200), (1, 5, 5, 200), (2, 5, 6, 200), (3, 5, 5, 0), (4, 5, 5, 401))
    assert asked.compare([pair(1, 5), pair(2, 6)])[0] == []
    assert asked.compare([pair(1, 5), pair(2, 5), pair(3, 5)])[0] == []


def test_a_row_that_is_missing_is_a_fault() -> None:
    assert rows((1, 5, 5, 200)).compare([])[0] == ["1 heartbeats were answered with 200 and have no row"]


def test_a_beat_at_the_edge_of_a_bucket_still_has_a_row_in_one_of_the_two() -> None:
    assert rows((2, 5, 6, 200)).compare([pair(2, 7)])[0] == [
        "1 heartbeats were answered with 200 and have no row",
        "1 rows that no heartbeat was sent for",
    ]


def test_a_refused_beat_leaves_no_row() -> None:
    assert rows((4, 5, 5, 401)).compare([pair(4, 5)])[0] == ["1 rows that no heartbeat was sent for"]


def test_two_rows_of_one_device_and_bucket_are_a_fault() -> None:
    assert rows((1, 5, 5, 200)).compare([pair(1, 5), pair(1, 5)])[0] == [
        "1 rows beside another of the same device and bucket"
    ]
