"""Deltas that are not as expected must fail, and selectors must sum what they name."""

import pytest

from acceptance.system.metrics import Metrics, parse, total

PAGE = """# TYPE n_total counter
n_total{a="1",b="x"} 2
n_total{a="1",b="y"} 3
n_total{a="2",b="x"} 4
"""


class Service:
    def __init__(self) -> None:
        self.count = 0

    def scrape(self) -> str:
        return f"# TYPE n_total counter\nn_total {self.count}\n"


def test_a_selector_sums_what_it_names() -> None:
    samples = parse(PAGE)
    assert total(samples, "n_total") == 9
    assert total(samples, 'n_total{a="1"}') == 5
    assert total(samples, 'n_total{b="x",a="2"}') == 4
    assert total(samples, 'n_total{a="3"}') == total(samples, "other_total") == 0


def test_the_expected_growth_passes() -> None:
    service = Service()
    with Metrics(service.scrape).moves({"n_total": 2}, within_s=0.05):
        service.count += 2


@pytest.mark.parametrize("growth", [0, 1, 3])
def test_any_other_growth_fails(growth: int) -> None:
    service = Service()
    with (
        pytest.raises(AssertionError, match="metrics moved by"),
        Metrics(service.scrape).moves({"n_total": 2}, within_s=0.05),
    ):
        service.count += growth
