"""How long answers took, from latency.json: the course over time, the distribution, the stages of a rising load.

It deliberately computes no percentile: those of latency.json come from the samples themselves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from markupsafe import Markup

from report import charts
from report.charts import Axis, Plot, percent, tag
from report.words import number, percentile, plural, span

_MOST_POINTS: Final = 240
_MOST_DOTS: Final = 4000
_BINS: Final = 40
_ROW: Final = 14
_MARKED: Final = (0.5, 0.95, 0.99, 1.0)
_LINES: Final = ((0.5, "p50_ms", "p50"), (0.95, "p95_ms", "p95"), (0.99, "p99_ms", "p99"))
_OF_KIND: Final = re.compile(r"/?(?P<kind>.+) p(?P<percent>[0-9]+(?:\.[0-9]+)?)")

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """A drawing and the sentence that says what it shows."""

    svg: Markup
    caption: str


@dataclass(frozen=True)
class Kind:
    name: str
    says: str
    course: Figure | None
    distribution: Figure | None


def kinds(latency: Document, limits: Sequence[Document], samples: Sequence[Mapping[str, str]]) -> list[Kind]:
    """Every kind of request that was sent, those with a limit first, then the more frequent ones."""
    of_kind = {kind["kind"]: _limits_of(kind["kind"], limits) for kind in latency["kinds"]}
    sent = [kind for kind in latency["kinds"] if kind["n"]]
    sent.sort(key=lambda kind: (not of_kind[kind["kind"]], -kind["n"]))
    times = [point["t_s"] for kind in sent for point in kind["series"]] or [0.0]
    x = charts.seconds(min(0.0, *times), max(times) + latency["interval_s"])
    found = []
    for kind in sent:
        dots = _dots(kind["kind"], samples)
        course = _course(kind, latency["interval_s"], x, of_kind[kind["kind"]], dots) if kind["series"] else None
        found.append(Kind(kind["kind"], _says(kind), course, _distribution(kind) if kind["histogram"] else None))
    return found


def columns(latency: Document) -> list[float]:
    """The quantiles that any kind has, rising."""
    return sorted({q for kind in latency["kinds"] for q, _ in kind["percentiles"]})


def thin(series: Sequence[Document], interval_s: float, most: int = _MOST_POINTS) -> tuple[list[dict[str, Any]], int]:
    """At most about `most` points, each the worst of as many neighbours as the second value says: no peak is lost."""
    if not series:
        return [], 1
    whole = (series[-1]["t_s"] - series[0]["t_s"]) / interval_s + 1
    together = max(math.ceil(whole / most), 1)
    width_s, points = together * interval_s, []
    for slot, group in groupby(series, key=lambda point: math.floor(point["t_s"] / width_s + 1e-9)):
        near = list(group)
        worst = {key: max(point[key] for point in near) for key in ("p50_ms", "p95_ms", "p99_ms", "max_ms")}
        sums = {key: sum(point[key] for point in near) for key in ("n", "errors")}
        points.append({"t_s": slot * width_s, **worst, **sums})
    return points, together


def _limits_of(kind: str, limits: Sequence[Document]) -> dict[float, float]:
    """Quantile -> milliseconds, of the limits that are named `<kind> p<percent>`."""
    named = [(_OF_KIND.fullmatch(limit["name"]), limit) for limit in limits if limit["unit"] == "ms"]
    return {float(name["percent"]) / 100: limit["value"] for name, limit in named if name and name["kind"] == kind}


def _says(kind: Document) -> str:
    marks = dict(kind["percentiles"])
    shown = [f"{percentile(q)} {number(marks[q])} ms" for q in _MARKED if q in marks]
    failed = f"{number(kind['errors'])} without a good answer" if kind["errors"] else "all with a good answer"
    return f"{plural(kind['n'], 'request')}, {failed}: {', '.join(shown)}."


def _dots(kind: str, samples: Sequence[Mapping[str, str]]) -> list[charts.Point]:
    """(intended time in s, latency in ms) of each good answer; nothing where there are too many to tell apart."""
    rows = [row for row in samples if row.get("kind") == kind and row.get("status") == "200"]
    if len(rows) > _MOST_DOTS:
        return []
    try:
        times = [(float(row["intended_ms"]), float(row["answered_ms"])) for row in rows]
    except (KeyError, TypeError, ValueError):
        return []
    return [(sent / 1000, answered - sent) for sent, answered in times if math.isfinite(answered - sent)]


def _scale(values: Sequence[float]) -> Axis:
    """From 0 where that leaves the values apart, logarithmic where it would press them flat."""
    positive = [value for value in values if value > 0]
    wide = positive and max(positive) > 12 * sorted(positive)[len(positive) // 2]
    return charts.logarithmic(positive, "ms") if wide else charts.from_zero(values, "ms")


def _course(
    kind: Document, interval_s: float, x: Axis, limits: Mapping[float, float], dots: Sequence[charts.Point]
) -> Figure:
    points, together = thin(kind["series"], interval_s)
    width_s = together * interval_s
    measured = [point[key] for point in points for _, key, _ in _LINES] + [ms for _, ms in dots]
    y = _scale([*measured, *limits.values()])
    plot = Plot(f"course-{kind['kind']}", x, y)
    for quantile, ms in sorted(limits.items(), key=lambda pair: pair[1]):
        plot.level(ms, f"limit {percentile(quantile)} {number(ms)} ms")
    plot.dots(dots, "sample")
    for _, key, style in _LINES:
        line = [(point["t_s"] + width_s / 2, point[key]) for point in points]
        plot.line(line, style, style, gap=2.5 * width_s)
    for point in points:
        figures = ", ".join(f"{style} {number(point[key])}" for _, key, style in _LINES)
        says = f"{number(point['t_s'])} s: {figures}, slowest {number(point['max_ms'])} ms; n {point['n']}"
        says += f", {point['errors']} without a good answer" * bool(point["errors"])
        plot.hit(point["t_s"], point["t_s"] + width_s, says)
        if point["errors"]:
            at = percent(x.at(point["t_s"] + width_s / 2))
            plot.place(tag("text", tag("title", says), "✗", class_="failed-mark", x=at, y=11, text_anchor="middle"))
    caption = f"Latency by intended time; a point stands for {span(width_s)}"
    caption += f", and is the worst of {together} intervals" * (together > 1)
    caption += f". {'Logarithmic axis' if y.log else 'Axis from 0'}."
    caption += " Each dot is one request." * bool(dots)
    caption += " ✗ marks requests without a good answer." * any(point["errors"] for point in points)
    return Figure(plot.svg(f"{kind['kind']}: percentiles over time", _says(kind)), caption)


def _distribution(kind: Document) -> Figure:
    """Bins of equal width on the logarithmic axis, so that height stands for the number of requests."""
    bins = [(bound, n) for bound, n in kind["histogram"] if n]
    marks = {q: ms for q, ms in kind["percentiles"] if q in _MARKED}
    x = charts.logarithmic([*(bound for bound, _ in bins), *marks.values()], "ms")
    step = (math.log10(x.high) - math.log10(x.low)) / _BINS
    counts = [0] * _BINS
    for bound, n in bins:
        counts[min(int(x.at(bound) * _BINS), _BINS - 1)] += n
    y = charts.from_zero(counts, "")
    plot = Plot(f"distribution-{kind['kind']}", x, y, top=_ROW * len(_MARKED) + 6)
    for place, n in enumerate(counts):
        if n:
            low, high = (x.low * 10 ** (step * (place + side)) for side in (0, 1))
            plot.bar(low, high, n, f"{number(low)} to {number(high)} ms: {plural(n, 'request')}")
    _mark(plot, marks)
    caption = "Requests by latency, logarithmic axis. A bar that stands for even one request is a pixel high."
    return Figure(plot.svg(f"{kind['kind']}: distribution of latencies", _says(kind)), caption)


def _mark(plot: Plot, marks: Mapping[float, float]) -> None:
    """A line at each percentile, its label in a row of its own above the plot: no two can meet, however narrow."""
    for row, (quantile, ms) in enumerate(sorted(marks.items())):
        share, text_y = plot.x.at(ms), 11 + _ROW * row
        at, anchor, dx = (percent(share), "start", 4) if share < 0.6 else (percent(share), "end", -4)
        plot.place(tag("line", class_="mark", x1=at, x2=at, y1=text_y - 9, y2=plot.top + plot.height))
        label = f"{percentile(quantile)} {number(ms)} ms"
        plot.place(tag("text", label, class_="mark-text halo", x=at, y=text_y, dx=dx, text_anchor=anchor))


def stages(latency: Document) -> list[Figure]:
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
