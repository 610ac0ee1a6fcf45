"""Histograms that are merged tell what one would have told; latency.json is what its schema says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from harness.verdict.thresholds import percentile
from load.measurements.histogram import QUANTILES, Histogram, Stage, Timings, cell_of, write_latency
from load.measurements.samples import Sample

MICROSECONDS = st.integers(0, 60_000_000)
REQUESTS = st.lists(
    st.tuples(st.sampled_from(["heartbeat", "warm-up"]), st.floats(0, 100), st.floats(0, 12), st.booleans()),
    max_size=60,
)
Request = tuple[str, float, float, bool]


def timings(requests: list[Request]) -> Timings:
    counted = Timings(1.0, 10.0)
    for kind, intended, took, ok in requests:
        counted.record(kind, intended, intended + took, ok=ok)
    return counted


@given(MICROSECONDS)
def test_a_cell_is_named_by_its_highest_value_within_a_thousandth(us: int) -> None:
    assert us <= cell_of(us) <= us * (1 + 1 / 1024)
    assert cell_of(cell_of(us)) == cell_of(us)


@given(MICROSECONDS)
def test_the_cells_are_those_of_an_hdr_histogram_of_three_digits(us: int) -> None:
    assert cell_of(us) == HdrHistogram(1, 60_000_000, 3).get_highest_equivalent_value(us)


@given(st.lists(MICROSECONDS, min_size=1, max_size=60), st.sampled_from(QUANTILES))
def test_a_percentile_is_the_nearest_rank_of_the_samples(values: list[int], q: float) -> None:
    histogram = Histogram(Counter(map(cell_of, values)))
    exact_ms = percentile(values, q) / 1000
    told_ms = histogram.percentile_ms(q)
    assert told_ms is not None
    assert exact_ms <= told_ms <= exact_ms * (1 + 1 / 1024)


@given(REQUESTS, st.integers(1, 4))
def test_parts_that_are_merged_are_the_whole(requests: list[Request], processes: int) -> None:
    merged = Timings(1.0, 10.0)
    for index in range(processes):
        sent = json.loads(json.dumps(timings(requests[index::processes]).to_dict()))
        merged.merge(Timings.from_dict(sent))
    assert merged.course == timings(requests).course


def test_what_was_counted_otherwise_is_not_added() -> None:
    for other in (Timings(2.0, 10.0), Timings(1.0, 5.0)):
        with pytest.raises(ValueError, match="another interval or time-out"):
            Timings(1.0, 10.0).merge(other)


def test_an_error_counts_as_the_time_out() -> None:
    whole = timings([("heartbeat", 0.0, 0.001, False), ("heartbeat", 0.0, 12.0, False)]).whole("heartbeat")
    assert (whole.errors, whole.n) == (2, 2)
    assert whole.percentile_ms(0.5) == pytest.approx(10_000, rel=0.001)
    assert whole.percentile_ms(1.0) == pytest.approx(12_000, rel=0.001)


def test_no_samples_have_no_percentile() -> None:
    assert Histogram().percentile_ms(0.99) is None


def test_share_within_counts_only_what_is_surely_below() -> None:
    histogram = Histogram()
    for time_s in (0.5, 0.9, 1.0, 2.0):
        histogram.record(time_s)
    assert histogram.share_within(1.0) == 0.5


def sample(intended: float, took_ms: float, status: int = 200) -> Sample:
    return Sample("heartbeat", "D1", intended, intended, intended + took_ms / 1000, status)


def written(directory: Path, counted: Timings, stages: list[Stage] | None = None) -> dict[str, Any]:
    write_latency(directory, "fleet-scale", 1000.0, counted, stages or [])
    return dict(json.loads((directory / "latency.json").read_text()))


def test_raw_samples_are_told_exactly(tmp_path: Path) -> None:
    samples = [sample(1000 + n / 8, 1.2345 * n) for n in range(1, 41)] + [sample(1001.0, 3.0, status=503)]
    document = written(tmp_path, Timings.of_samples(samples, 1000.0, 10.0, 1.0))
    (kind,) = document["kinds"]
    assert (kind["n"], kind["errors"]) == (41, 1)
    exact = [s.latency_ms if s.ok else 10_000.0 for s in samples]
    assert kind["percentiles"] == [[q, round(percentile(exact, q), 3)] for q in QUANTILES]
    assert sum(count for _, count in kind["histogram"]) == 41
    assert [point["t_s"] for point in kind["series"]] == [0, 1, 2, 3, 4, 5]
    assert sum(point["n"] for point in kind["series"]) == 41


def test_bins_hold_what_lies_between_their_bounds(tmp_path: Path) -> None:
    document = written(tmp_path, Timings.of_samples([sample(1000, ms) for ms in (1.5, 2.5, 80)], 1000.0, 10.0, 1.0))
    (kind,) = document["kinds"]
    bounds = [0.0, *(bound for bound, _ in kind["histogram"])]
    assert bounds == sorted(bounds)
    filled = [(low, high) for low, (high, count) in zip(bounds, kind["histogram"], strict=False) if count]
    assert len(filled) == 3
    for (low, high), ms in zip(filled, (1.5, 2.5, 80), strict=True):
        assert low < ms <= high


def test_empty_run_and_stages_are_valid_documents(tmp_path: Path) -> None:
    assert written(tmp_path, Timings(1.0, 10.0))["kinds"] == []
    stage = Stage(500.0, 499.2, 10.0, 20.0, Histogram(), held=False, note="no sample")
    (told,) = written(tmp_path, Timings(1.0, 10.0), [stage])["stages"]
    assert (told["p99_ms"], told["held"], told["offered_per_s"]) == (None, False, 500.0)
