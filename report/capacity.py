"""The stages of a load that rises in steps, from latency.json. It looks for no knee: `held` says where it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from report import charts
from report.charts import Figure, Plot, percent, tag
from report.words import number


def draw(latency: Mapping[str, Any]) -> list[Figure]:
    """Of a load that rises in steps: what was achieved of what was offered, and the p99 at each step."""
    steps = latency["stages"]
    if not steps:
        return []
    x = charts.from_zero([step["offered_per_s"] for step in steps], "/s", most_steps=3)
    rates = Plot("stages-rate", x, charts.from_zero([x.high], "/s"))
    rates.line([(0.0, 0.0), (x.high, x.high)], "ideal", "offered")
    rates.line([(s["offered_per_s"], s["achieved_per_s"]) for s in steps], "p95", "achieved")
    measured = [(s["offered_per_s"], s["p99_ms"]) for s in steps if s["p99_ms"] is not None]
    slow = Plot("stages-p99", x, charts.logarithmic([ms for _, ms in measured], "ms"))
    slow.line(measured, "p99", "p99")
    for step in steps:
        sign = ("✓", "held") if step["held"] else ("✗", "not held")
        says = f"{number(step['offered_per_s'])}/s offered, {number(step['achieved_per_s'])}/s achieved: {sign[1]}"
        for plot, value in ((rates, step["achieved_per_s"]), (slow, step["p99_ms"])):
            if value is not None:
                at = {"x": percent(x.at(step["offered_per_s"])), "y": plot.px(value) + 4, "text_anchor": "middle"}
                mark = "held-mark halo" if step["held"] else "failed-mark halo"
                plot.place(tag("text", tag("title", says), sign[0], class_=mark, **at))
    held = max((step["offered_per_s"] for step in steps if step["held"]), default=None)
    knee = f"{number(held)}/s was the highest load that held" if held is not None else "no load held"
    return [
        Figure(
            rates.svg("Achieved against offered load", knee), f"Achieved against offered load: {knee}. Axes from 0."
        ),
        Figure(slow.svg("p99 against offered load", knee), "p99 at each load. Logarithmic axis. ✓ held, ✗ not held."),
    ]
