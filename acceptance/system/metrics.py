"""Metrics of the service as deltas: what a block of requests adds to the samples of /metrics.

Does not judge absolute values: other cases count in the same process.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from harness.http.prometheus import Sample, name_of, parse, total
from harness.waiting import eventually


class Metrics:
    """Reads the service's metrics page through the given function."""

    def __init__(self, scrape: Callable[[], str]) -> None:
        self._scrape = scrape

    def read(self, *selectors: str) -> dict[Sample, float]:
        """All of the page, or what has the names of some selectors."""
        return parse(self._scrape(), {name_of(selector) for selector in selectors})

    def total(self, selector: str) -> float:
        return total(self.read(selector), selector)

    @contextmanager
    def moves(self, expected: Mapping[str, float], within_s: float = 3.0) -> Iterator[None]:
        """Fails unless each selector grows by exactly its number over the block (a counter may trail its request)."""
        before = self.read(*expected)
        yield

        def grown() -> bool:
            after = self.read(*expected)
            seen = {selector: total(after, selector) - total(before, selector) for selector in expected}
            assert seen == dict(expected), f"metrics moved by {seen}, expected {dict(expected)}"
            return True

        eventually(grown, within_s=within_s, what="the growth of the metrics")
