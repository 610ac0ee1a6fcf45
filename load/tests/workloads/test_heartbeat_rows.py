"""Which rows heartbeats ask for, and what is a fault among those that are found."""

from __future__ import annotations

from load.workloads.heartbeat_rows import HeartbeatRows, pair


def rows(*beats: tuple[int, int, int, int]) -> HeartbeatRows:
    asked = HeartbeatRows()
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
