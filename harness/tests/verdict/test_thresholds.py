"""The verdict must not be had cheaply: every way to a false pass is tried here. Real latencies are not."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.verdict.thresholds import (
    Check,
    Judgement,
    Limit,
    Status,
    Verdict,
    exit_code,
    judge,
    minimum_samples,
    percentile,
)

P95 = Limit("p95", "ms", "<", 150, quantile=0.95)
FEW = Limit("p99", "ms", "<", 300, quantile=0.99, min_n=50)


def test_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.95)


def test_percentile_with_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        percentile([1.0, math.nan], 0.5)


@pytest.mark.parametrize("q", [0.0, 1.01, -0.5])
def test_quantile_outside_its_range_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="quantile"):
        percentile([1.0], q)


@pytest.mark.parametrize(
    "n,q,rank",
    [(100, 0.95, 95), (100, 0.99, 99), (101, 0.99, 100), (100, 0.07, 7), (20, 0.95, 19), (1, 0.5, 1), (230, 0.99, 228)],
)
def test_percentile_is_the_sample_of_that_rank_and_not_its_neighbour(n: int, q: float, rank: int) -> None:
    assert percentile([float(i) for i in range(n, 0, -1)], q) == rank


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.integers(1, 100).map(lambda whole: whole / 100))
def test_percentile_is_the_least_sample_that_covers_its_share(samples: list[float], q: float) -> None:
    found = percentile(samples, q)
    share = Fraction(str(q)) * len(samples)
    assert found in samples
    assert sum(sample <= found for sample in samples) >= share
    assert sum(sample < found for sample in samples) < share


def test_minimum_samples_is_ten_beyond_the_percentile() -> None:
    assert [minimum_samples(q) for q in (0.5, 0.95, 0.99, 0.999, 1.0)] == [20, 200, 1000, 10000, 1]


def test_no_samples_are_inconclusive() -> None:
    judged = P95.judge([])
    assert (judged.status, judged.observed, judged.n) == (Status.INCONCLUSIVE, None, 0)
    assert judge([judged]).exit_code == 2


def test_one_sample_too_few_is_inconclusive_and_one_more_passes() -> None:
    assert P95.judge([1.0] * 199).status is Status.INCONCLUSIVE
    assert P95.judge([1.0] * 200).status is Status.PASS


def test_limit_is_exclusive_where_it_says_so() -> None:
    assert P95.judge([150.0] * 200).status is Status.FAIL
    assert Limit("p95", "ms", "<=", 150, quantile=0.95).judge([150.0] * 200).status is Status.PASS


def test_sample_at_the_rank_decides_and_not_the_one_below() -> None:
    within, beyond = [1.0] * 190, [500.0] * 10
    assert P95.judge(within + beyond).status is Status.PASS
    assert P95.judge([*within[1:], *beyond, 500.0]).status is Status.FAIL


class TestFewerSamplesThanThePercentileWants:
    """min_n <= n < 10 / (1 - p): stricter on the way to a pass, never more lenient."""

    def test_passes_only_by_its_worst_sample(self) -> None:
        judged = FEW.judge([10.0] * 229 + [299.0])
        assert judged.status is Status.PASS
        assert "worst sample" in judged.note

    def test_one_outlier_beyond_the_limit_is_inconclusive(self) -> None:
        assert FEW.judge([10.0] * 229 + [301.0]).status is Status.INCONCLUSIVE

    def test_percentile_beyond_the_limit_fails(self) -> None:
        assert FEW.judge([10.0] * 227 + [301.0] * 3).status is Status.FAIL

    def test_below_its_own_minimum_it_says_nothing(self) -> None:
        assert FEW.judge([10.0] * 49).status is Status.INCONCLUSIVE

    def test_with_all_the_samples_an_outlier_is_allowed(self) -> None:
        assert FEW.judge([10.0] * 999 + [301.0]).status is Status.PASS

    @given(st.lists(st.floats(0, 600), min_size=0, max_size=250))
    def test_never_passes_what_the_plain_percentile_would_not(self, samples: list[float]) -> None:
        if FEW.judge(samples).status is Status.PASS:
            assert percentile(samples, 0.99) < 300


class TestValues:
    def test_value_that_could_not_be_taken_is_inconclusive(self) -> None:
        limit = Limit("sent", "", "==", 20)
        assert limit.judge_value(None, 0).status is Status.INCONCLUSIVE
        assert limit.judge_value(math.nan, 5).status is Status.INCONCLUSIVE

    @pytest.mark.parametrize("op,good,bad", [("==", 20, 19), (">=", 20, 19.9), ("<", 19, 20), ("<=", 20, 21)])
    def test_each_operator_can_fail(self, op: str, good: float, bad: float) -> None:
        limit = Limit("x", "", op, 20)  # type: ignore[arg-type]  # parametrised text
        assert limit.judge_value(good, 1).status is Status.PASS
        assert limit.judge_value(bad, 1).status is Status.FAIL

    def test_breach_of_a_limit_that_guards_the_run_blames_nobody(self) -> None:
        lag = Limit("lag", "ms", "<", 50, quantile=0.5, breach=Status.INCONCLUSIVE)
        assert lag.judge([60.0] * 20).status is Status.INCONCLUSIVE

    def test_percentile_and_value_do_not_mix(self) -> None:
        with pytest.raises(ValueError, match="samples"):
            P95.judge_value(1.0, 1000)
        with pytest.raises(ValueError, match="value"):
            Limit("sent", "", "==", 20).judge([20.0])

    def test_limits_that_could_not_work_are_refused(self) -> None:
        with pytest.raises(ValueError, match="above"):
            Limit("p95", "ms", ">=", 150, quantile=0.95)
        with pytest.raises(ValueError, match="breach"):
            Limit("p95", "ms", "<", 150, breach=Status.PASS)
        with pytest.raises(ValueError, match="min_n"):
            Limit("p95", "ms", "<", 150, min_n=0)


class TestVerdict:
    def test_nothing_judged_is_inconclusive(self) -> None:
        assert Verdict().exit_code == 2
        assert judge([]).status is Status.INCONCLUSIVE

    def test_only_disabled_checks_are_inconclusive(self) -> None:
        assert judge([P95.disabled("no log")], [Check("a", "a", Status.DISABLED)]).exit_code == 2

    def test_failure_cannot_become_a_pass(self) -> None:
        verdict = judge([P95.judge([200.0] * 200)])
        assert verdict.exit_code == 1
        for status in Status:
            verdict.add(status, "later")
        assert verdict.exit_code == 1

    def test_doubt_cannot_become_a_pass_but_a_failure_still_shows(self) -> None:
        verdict = judge([P95.judge([1.0] * 200)], doubts=["the generator lagged"])
        verdict.add(Status.PASS, "")
        assert verdict.exit_code == 2
        verdict.add(Status.FAIL, "a row too many")
        assert verdict.exit_code == 1

    def test_a_missed_target_is_reported_and_changes_no_verdict(self) -> None:
        target = Limit("sent", "s", "<", 2, breach=Status.TARGET_MISSED)
        missed = target.judge_value(4.0, 3)
        assert missed.status is Status.TARGET_MISSED
        assert target.judge_value(1.9, 3).status is Status.PASS
        verdict = judge([missed])
        assert (verdict.exit_code, verdict.reasons) == (0, ["sent: 4 s, wanted < 2 s"])
        for status, code in ((Status.PASS, 0), (Status.INCONCLUSIVE, 2), (Status.FAIL, 1)):
            verdict.add(status, status.value)
            assert verdict.exit_code == code
        assert verdict.reasons == ["fail", "inconclusive", "sent: 4 s, wanted < 2 s"]
        assert missed.voided("the generator lagged").status is Status.INCONCLUSIVE

    def test_voided_judgement_neither_passes_nor_fails(self) -> None:
        for samples in ([1.0] * 200, [999.0] * 200):
            assert P95.judge(samples).voided("the generator lagged").status is Status.INCONCLUSIVE
        assert P95.disabled("no log").voided("lag").status is Status.DISABLED

    def test_reasons_name_the_limit_and_what_was_seen(self) -> None:
        verdict = judge([P95.judge([200.0] * 200)], [Check("rows", "one row per bucket", Status.FAIL, "3 of 2")])
        assert verdict.reasons == ["p95: 200 ms, wanted < 150 ms", "rows: one row per bucket: 3 of 2"]

    def test_pass_needs_no_reason(self) -> None:
        passed: Judgement = P95.judge([1.0] * 200)
        assert (judge([passed]).exit_code, judge([passed]).reasons) == (0, [])

    def test_failures_come_first_among_the_reasons(self) -> None:
        verdict = Verdict()
        for status in (Status.INCONCLUSIVE, Status.PASS, Status.FAIL, Status.DISABLED):
            verdict.add(status, status.value)
        assert verdict.reasons == ["fail", "inconclusive"]


def test_a_program_that_breaks_blames_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    def breaks() -> int:
        raise RuntimeError("out of ink")

    assert exit_code(breaks) == 2
    assert "RuntimeError: out of ink" in capsys.readouterr().err
    assert [exit_code(partial(int, code)) for code in (0, 1, 2)] == [0, 1, 2]
