"""Deltas that are not as expected must fail."""

import pytest

from acceptance.system.metrics import Metrics


class Service:
    def __init__(self) -> None:
        self.count = 0

    def scrape(self) -> str:
        return f"# TYPE n_total counter\nn_total {self.count}\n"


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
