"""How many sandboxes were in each state over time, and how requests for one were answered, from pool.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    "a new sandbox": "p99",
    "the same again": "p95",
    "none free": "bad",
    "try again": "pending",
}


def draw(document: Mapping[str, Any]) -> list[Figure]:
    """A line for each state in which there ever was a sandbox; and one for each answer that was ever given."""
    states = _figure("pool-states", "Sandboxes in each state", document["pool"])
    title = "Requests for a sandbox: answers a second, and how many were asking at once"
    return [*states, *_figure("pool-answers", title, document["answers"])]


def _figure(plot_name: str, title: str, courses: Mapping[str, Sequence[tuple[float, float]]]) -> list[Figure]:
    lines = {name: points for name, points in courses.items() if any(n for _, n in points)}
    if not lines:
        return []
    last = max(points[-1][0] for points in lines.values())
    x = charts.seconds(0.0, last)
    plot = Plot(plot_name, x, charts.from_zero([n for points in lines.values() for _, n in points], "", whole=True))
    says: dict[float, list[str]] = {}
    for name, points in lines.items():
        plot.line([(t_s, n) for t_s, n in points], _STYLES.get(name, "p50"), name)
        for t_s, n in points:
            says.setdefault(t_s, []).append(f"{number(n)} {name}")
    times = sorted(says)
    for low, high in zip(times, [*times[1:], last], strict=True):
        plot.hit(low, high, f"{number(low)} s: {', '.join(says[low])}")
    caption = f"{title}, over time. Axis from 0."
    return [Figure(plot.svg(title, caption), caption)]
