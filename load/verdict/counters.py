"""By how much counters must have grown: exact, hence only where nobody else uses the deployment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from load.measurements.observations import Metrics
from load.verdict.check import Finding


class Growth(NamedTuple):
    """`nexmdm_<name>_total`, all series with these labels together, must have grown by `least` to `most`."""

    name: str
    labels: Mapping[str, str]
    least: int
    most: int


def exactly(name: str, count: int, **labels: str) -> Growth:
    """By `count`, no more and no less."""
    return Growth(name, labels, count, count)


def grown(metrics: Metrics, *wanted: Growth) -> Finding:
    """Compare all of them."""
    faults, seen = [], []
    for name, labels, least, most in wanted:
        count = metrics.delta(f"nexmdm_{name}_total", **labels)
        seen.append(f"{count:g} {' '.join([name, *labels.values()])}")
        if not least <= count <= most:
            bounds = f"{least}" if least == most else f"{least} to {most}"
            faults.append(f"{name}{dict(labels) or ''} grew by {count:g}, not {bounds}")
    return Finding(faults, ", ".join(seen))
