"""The seven counters of the load tests of seed 003, by their names there."""

from __future__ import annotations

from collections.abc import Mapping

from load.measurements.histogram import Histogram
from load.verdict.verdict import Facts

_ANSWERS = (200, 201, 409)


def seed_counters(asks: Mapping[int, int], latency: Histogram, released: int) -> Facts:
    """asks: how often requests for a sandbox were answered with each status, 0: not at all; latency: of these.

    As there, a 409 is a conflict and an exhausted pool both, and a repeat is a success and a hit.
    """
    quantiles = (0.5, 0.95, 0.99, 1.0) if latency.n else ()
    told = " / ".join(f"{latency.percentile_ms(q):.1f}" for q in quantiles)
    return {
        "allocation_success": asks.get(201, 0) + asks.get(200, 0),
        "allocation_failure": sum(n for status, n in asks.items() if status not in _ANSWERS),
        "allocation_conflicts": asks.get(409, 0),
        "allocation_pool_exhausted": asks.get(409, 0),
        "allocation_latency_ms": f"p50 / p95 / p99 / slowest: {told}" if told else None,
        "mark_deletion_success": released,
        "idempotency_hit": asks.get(200, 0),
    }
