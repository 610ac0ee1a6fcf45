"""How many sandboxes were in each state over time, from pool.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from report import charts
from report.charts import Figure, Plot
from report.words import number

_STYLES: Final = {
    "available": "p95",
    "allocated": "p99",
    "to be deleted": "pending",
    "pending": "pending",
    "deleting": "p50",
    "failed": "bad",
    "stale": "bad",
    "deleted": "ideal",
}


def draw(document: Mapping[str, Any]) -> list[Figure]:
    """A line for each state in which there ever was a sandbox."""
    lines = {name: points for name, points in document["pool"].items() if any(n for _, n in points)}
    if not lines:
        return []
    last = max(points[-1][0] for points in lines.values())
    x = charts.seconds(0.0, last)
    plot = Plot("pool-states", x, charts.from_zero([n for points in lines.values() for _, n in points], "", whole=True))
    says: dict[float, list[str]] = {}
    for name, points in lines.items():
        plot.line([(t_s, n) for t_s, n in points], _STYLES.get(name, "p50"), name)
        for t_s, n in points:
            says.setdefault(t_s, []).append(f"{number(n)} {name}")
    times = sorted(says)
    for low, high in zip(times, [*times[1:], last], strict=True):
        plot.hit(low, high, f"{number(low)} s: {', '.join(says[low])}")
    caption = "Sandboxes in each state over time. Axis from 0."
    return [Figure(plot.svg("Sandboxes in each state", caption), caption)]
