"""The metrics of the kernel, and the page of all metrics. Each package defines its own in its `metrics` module.

Values lie in memory that all processes of one `nexmdm serve` share, so a scrape of any worker is complete. Take
`Counter`, `Gauge` and `Histogram` from here: those that are made before the values are shared count for one process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product

from prometheus_client import Counter, Gauge, Histogram, values
from prometheus_client.metrics import MetricWrapperBase

from nexmdm import __version__
from nexmdm.kernel.log_sink import Kind
from nexmdm.kernel.shared_values import SharedValues

_shared = SharedValues()
values.ValueClass = _shared.value  # before the first metric is made
share, take_slot, clear_slot = _shared.share, _shared.take, _shared.clear

# Bounds in seconds. Fine where the budgets are (5, 15, 30, 50, 150, 300 ms), coarse beyond.
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0)

rate_limited = Counter("nexmdm_rate_limited", "Requests refused by a rate limit.", ["rule"])
shed = Counter("nexmdm_shed", "Requests turned away because a queue was full.", ["queue"])
log_lines_lost = Counter("nexmdm_log_lines_lost", "Log lines that stdout did not take in time.", ["kind"])
pool_size = Gauge("nexmdm_db_pool_size", "Database connections that there may be.", multiprocess_mode="livesum")
pool_in_use = Gauge("nexmdm_db_pool_in_use", "Database connections in use.", multiprocess_mode="livesum")
build_info = Gauge("nexmdm_build_info", "Always 1.", ["version"], multiprocess_mode="max")


__all__ = [
    "BUCKETS_S",
    "Counter",
    "Gauge",
    "Histogram",
    "clear_slot",
    "page",
    "seed",
    "share",
    "take_slot",
]  # the constructors are for the other packages


def page() -> bytes:
    """The Prometheus text page (format 0.0.4) over all processes."""
    build_info.labels(__version__).set(1)
    return _shared.page().encode()


def count_lost_lines(lost: Mapping[Kind, int]) -> None:
    """Count log lines that could not be written, by kind."""
    for kind, lines in lost.items():
        log_lines_lost.labels(kind).inc(lines)


def seed(metric: MetricWrapperBase, *values: Iterable[str]) -> None:
    """Make the series of every combination of label values appear with 0: a rate over the first event is right."""
    for labels in product(*values):
        metric.labels(*labels)
