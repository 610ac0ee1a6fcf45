"""Latency counts from the intended time, and what is not certain is not counted as certain."""

from __future__ import annotations

from typing import Any

from load.measurements.samples import DUPLICATE, HEARTBEAT, Recorder, Sample, samples_csv


def beat(at: float, took: float = 0.01, *, device: str = "D01", status: int = 200, **more: Any) -> Sample:
    return Sample(more.pop("kind", HEARTBEAT), device, at, more.pop("sent", at), at + took, status, **more)


def recorder(*samples: Sample) -> Recorder:
    return Recorder(list(samples))


def test_latency_counts_from_the_intended_time_and_not_from_the_late_send() -> None:
    sample = beat(100.0, took=0.5, sent=100.4)
    assert (round(sample.latency_ms), round(sample.lag_ms)) == (500, 400)


def test_beat_without_a_good_answer_is_as_slow_as_the_time_out() -> None:
    assert recorder(beat(1.0, status=0), beat(2.0, status=503), beat(3.0)).latencies(10.0, HEARTBEAT)[:2] == [
        10_000,
        10_000,
    ]


def test_duplicates_share_one_row() -> None:
    account = recorder(beat(101.0), beat(105.0, kind=DUPLICATE), beat(112.0), beat(101.0, device="D02")).account(10)
    assert account.rows == {("D01", 10), ("D01", 11), ("D02", 10)}
    assert (account.unsure, account.doubtful) == (frozenset(), 0)


def test_answer_in_the_next_bucket_makes_both_unsure() -> None:
    account = recorder(beat(109.9, took=0.3)).account(10)
    assert account.unsure == {("D01", 10), ("D01", 11)}
    assert (account.rows, account.doubtful) == (frozenset(), 1)


def test_badly_known_clock_makes_beats_near_the_edge_unsure() -> None:
    assert recorder(beat(109.5)).account(10, 0.1).doubtful == 0
    assert recorder(beat(109.5)).account(10, 0.6).doubtful == 1


def test_lost_answer_is_unsure_and_a_refusal_is_no_row() -> None:
    assert recorder(beat(101.0, status=0)).account(10).unsure == {("D01", 10)}
    assert recorder(beat(101.0, status=500)).account(10).unsure == {("D01", 10)}
    refused = recorder(beat(101.0, status=401)).account(10)
    assert (refused.rows, refused.unsure) == (frozenset(), frozenset())


def test_lost_beat_beside_an_answered_one_leaves_the_row_certain() -> None:
    account = recorder(beat(101.0), beat(105.0, status=0, kind=DUPLICATE)).account(10)
    assert account.rows == {("D01", 10)}
    assert (account.unsure, account.doubtful) == (frozenset(), 1)


def test_nothing_recorded_has_no_lag() -> None:
    assert Recorder().lag_p99_ms() is None


def test_samples_are_written_to_the_hundredth_of_a_millisecond() -> None:
    text = samples_csv([beat(100.0, took=0.012345, deduplicated=False)], 90.0)
    assert text.splitlines()[1] == "heartbeat,D01,10000.00,10000.00,10012.34,200,0,"
