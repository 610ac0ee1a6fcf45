"""What an expression names is found in every corner of it, and what is not on the page is named."""

import pytest

from acceptance.system import promql

PAGE = {
    ("a_total", frozenset({("code", "x"), ("route", "/v1")})): 1.0,
    ("b_bucket", frozenset({("le", "0.5")})): 1.0,
    ("c", frozenset()): 0.0,
}


@pytest.mark.parametrize(
    "expression",
    [
        "c",
        'sum by (code) (rate(a_total{route="/v1",code=~"y.."}[$__rate_interval])) > 1',
        "histogram_quantile(0.99, sum by (le) (rate(b_bucket[5m] offset 1h))) > -0.3 and max(c) > 0",
        "sum by (instance, job) (c) / (sum without (whatever) (c))",
        "max_over_time(rate(a_total[1m])[5m:1m])",
    ],
)
def test_what_the_page_can_answer(expression: str) -> None:
    assert promql.faults(expression, PAGE) == []


@pytest.mark.parametrize(
    "expression, fault",
    [
        ("a", "no metric a"),
        ("rate(a_totals[5m])", "no metric a_totals"),
        ("c and max(-(d)) > 0", "no metric d"),
        ("max_over_time(rate(d[1m])[5m:1m])", "no metric d"),
        ("quantile(0.9, topk(3, d))", "no metric d"),
        ('a_total{status="x"}', 'no label in a_total{status="x"}'),
        ('a_total{status=~"x"}', 'no label in a_total{status="x"}'),
        ('a_total{code="z"}', 'no value in a_total{code="z"}'),
        ("sum by (status) (a_total)", "no label status to group by"),
        ("sum(rate(a_total[5m])", "no PromQL: "),
        ("rate(c)", "no PromQL: "),
        ("1 + 1", "no metric at all"),
    ],
)
def test_what_the_page_cannot_answer(expression: str, fault: str) -> None:
    assert any(found.startswith(fault) for found in promql.faults(expression, PAGE))


def test_labels_that_a_text_puts_in() -> None:
    assert promql.named_labels("{{ $labels.code }} of {{route}}, {{ $value }}") == {"code", "route"}
