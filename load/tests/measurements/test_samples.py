"""Latency counts from the intended time."""

from __future__ import annotations

from typing import Any

from load.measurements.samples import Sample, Samples, samples_csv


def beat(at: float, took: float = 0.01, *, device: str = "D01", status: int = 200, **more: Any) -> Sample:
    return Sample(more.pop("kind", "heartbeat"), device, at, more.pop("sent", at), at + took, status, **more)


def test_latency_counts_from_the_intended_time_and_not_from_the_late_send() -> None:
    sample = beat(100.0, took=0.5, sent=100.4)
    assert (round(sample.latency_ms), round(sample.lag_ms)) == (500, 400)


def test_beat_without_a_good_answer_is_as_slow_as_the_time_out() -> None:
    assert Samples([beat(1.0, status=0), beat(2.0, status=503), beat(3.0)]).latencies(10.0, "heartbeat")[:2] == [
        10_000,
        10_000,
    ]


def test_nothing_recorded_has_no_lag() -> None:
    assert Samples().lag_p99_ms() is None


def test_samples_are_written_to_the_hundredth_of_a_millisecond() -> None:
    text = samples_csv([beat(100.0, took=0.012345, deduplicated=False)], 90.0)
    assert text.splitlines()[1] == "heartbeat,D01,10000.00,10000.00,10012.34,200,0,"
