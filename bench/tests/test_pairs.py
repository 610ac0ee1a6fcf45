"""Ratios of pairs: what counts, between what the median lies, and what a limit can say of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from bench.pairs import Figure, Pair, Paired, rank
from harness.verdict.thresholds import Status

RATE = Figure("heartbeats", "/s", higher_is_better=True)
TIME = Figure("p95", "ms")


def paired(ratios: Sequence[float], figure: Figure = RATE, void: Sequence[int] = ()) -> Paired:
    """Pairs of these ratios to a baseline of 100; those at the places of `void` do not count."""
    return Paired(figure, [Pair(100, 100 * r, "busy" if n in void else "") for n, r in enumerate(ratios)])


def test_a_pair_is_divided_before_the_median_is_taken() -> None:
    told = Paired(RATE, [Pair(*sides) for sides in ((100, 110), (10, 10), (50, 60), (20, 10), (30, 36))]).told()
    assert told.startswith("x 1.100 (10.0% better), median of 5 pairs; 90 % between 0.500 and 1.200; from 0.500 to")
    assert told.endswith("; 30 -> 36/s")


@pytest.mark.parametrize(
    "figure, ratio, said", [(RATE, 0.9, "worse"), (RATE, 1.1, "better"), (TIME, 0.9, "better"), (TIME, 1.1, "worse")]
)
def test_more_of_a_rate_and_less_of_a_time_is_better(figure: Figure, ratio: float, said: str) -> None:
    assert f"(10.0% {said})" in paired([ratio] * 5, figure).told()


@pytest.mark.parametrize("pairs, least", [(4, 0), (5, 1), (7, 1), (8, 2), (11, 3), (15, 4)])
def test_the_interval_is_that_of_the_sign_test(pairs: int, least: int) -> None:
    assert rank(pairs) == least
    if least:
        outside = sum(math.comb(pairs, k) for k in range(least)) * 2 / 2**pairs
        assert 1 - outside >= 0.9 > 1 - outside - 2 * math.comb(pairs, least) / 2**pairs


@pytest.mark.parametrize(
    "ratios, figure, status",
    [
        ([0.99, 1.0, 1.0, 1.0, 1.05], RATE, Status.PASS),
        ([0.9, 0.91, 0.92, 0.93, 0.97], RATE, Status.FAIL),
        ([0.9, 0.99, 0.99, 1.0, 1.0], RATE, Status.INCONCLUSIVE),  # the median is within, the noise is not
        ([0.9, 0.91, 0.92, 0.93, 0.99], RATE, Status.INCONCLUSIVE),
        ([1.03, 1.04, 1.05, 1.2, 1.3], TIME, Status.FAIL),
        ([0.5, 0.9, 1.0, 1.01, 1.02], TIME, Status.PASS),
        ([0.5] * 5, TIME, Status.PASS),
        ([1.0, 1.0, 1.0, 1.01, 1.03], TIME, Status.INCONCLUSIVE),
        ([0.9, 0.99, 0.99, 1.0, 1.0, 1.0, 1.0, 1.0], RATE, Status.PASS),  # of eight pairs one at each end is left out
    ],
)
def test_a_limit_of_two_percent_is_decided_by_the_whole_interval(
    ratios: list[float], figure: Figure, status: Status
) -> None:
    judged = paired(ratios, figure).judge("capacity", 2)
    assert judged.status is status
    assert ("more pairs tell" in judged.note) is (status is Status.INCONCLUSIVE)


def test_void_pairs_do_not_count_and_too_few_of_the_others_prove_nothing() -> None:
    six = paired([1.0, 1.0, 1.0, 1.0, 1.0, 0.1], void=[5])
    assert (six.void, six.judge("capacity", 2).status) == ("", Status.PASS)
    five = paired([1.0, 1.0, 1.0, 1.0, 0.1], void=[4])
    assert five.void == "1 of 5 pairs are void (busy); 5 must count"
    assert five.judge("capacity", 2).status is Status.INCONCLUSIVE
    assert ("x 1.000" in five.told(), "90 %" in five.told()) == (True, False)
    assert five.told().endswith(f"; {five.void}")


@pytest.mark.parametrize("pair", [Pair(0.0, 1.0), Pair(1.0, 0.0), Pair(math.nan, math.nan, "late")])
def test_nothing_measured_is_no_ratio_and_never_a_zero(pair: Pair) -> None:
    assert math.isnan(pair.ratio)
    nothing = Paired(RATE, [pair] * 5)
    assert nothing.told() == nothing.void != ""
    assert nothing.judge("capacity", 2).observed is None
    assert nothing.judge("capacity", 2).status is Status.INCONCLUSIVE
