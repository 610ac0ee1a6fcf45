"""How long answers took, from latency.json: for each kind of request its course over time and its distribution.

It computes no percentile: those of latency.json come from the samples themselves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Final

from report import charts
from report.charts import Axis, Figure, Plot, percent, tag
from report.words import number, percentile, plural, span

_MOST_POINTS: Final = 240
_MOST_DOTS: Final = 4000
_BINS: Final = 40
_LEAST_MS: Final = 0.01
_LONE: Final = math.log(1.1)  # the width of a bar that stands alone: ten percent
_ROW: Final = 14
_SIGN: Final = 0.06  # of the width: room for a sign
_MARKED: Final = (0.5, 0.95, 0.99, 1.0)
_LINES: Final = ((0.5, "p50_ms", "p50"), (0.95, "p95_ms", "p95"), (0.99, "p99_ms", "p99"))
_OF_KIND: Final = re.compile(r"/?(?P<kind>.+) p(?P<percent>[0-9]+(?:\.[0-9]+)?)")

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    name: str
    says: str
    course: Figure | None
    distribution: Figure | None


def kinds(latency: Document, limits: Sequence[Document], samples: Sequence[Mapping[str, str]]) -> list[Kind]:
    """Every kind of request that was sent, those with a limit first, then the more frequent ones."""
    sent = [kind for kind in latency["kinds"] if kind["n"]]
    limited = [kind for limit in limits if (kind := _limited(limit)[0])]

    def order(kind: Document) -> tuple[int, int]:
        name = _stem(kind["kind"])
        return limited.index(name) if name in limited else len(limited), -kind["n"]

    sent.sort(key=order)
    times = [point["t_s"] for kind in sent for point in kind["series"]] or [0.0]
    x = charts.seconds(min(0.0, *times), max(times) + latency["interval_s"])
    found = []
    for kind in sent:
        dots = _dots(kind["kind"], samples)
        course = _course(kind, latency["interval_s"], x, _of(kind["kind"], limits), dots) if kind["series"] else None
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


def _stem(kind: str) -> str:
    """`result` of `results`, which is what limits may call it."""
    return kind.removesuffix("s")


def _limited(limit: Document) -> tuple[str, float]:
    """Kind and quantile of a limit that is named `<kind> p<percent>`; an empty kind for any other."""
    name = _OF_KIND.fullmatch(limit["name"]) if limit["unit"] == "ms" else None
    return (_stem(name["kind"]), float(name["percent"]) / 100) if name else ("", 0.0)


def _of(kind: str, limits: Sequence[Document]) -> dict[float, float]:
    """Quantile -> milliseconds of the limits of a kind."""
    named = [(*_limited(limit), limit["value"]) for limit in limits]
    return {quantile: value for name, quantile, value in named if name == _stem(kind)}


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
    for share in _apart(x.at(point["t_s"] + width_s / 2) for point in points if point["errors"]):
        plot.place(tag("text", "✗", class_="failed-mark", x=percent(share), y=11, text_anchor="middle"))
    caption = f"Latency by intended time; a point stands for {span(width_s)}"
    caption += f", and is the worst of {together} intervals" * (together > 1)
    caption += f". {'Logarithmic axis' if y.log else 'Axis from 0'}."
    caption += " Each dot is one request." * bool(dots)
    caption += " ✗ marks requests without a good answer." * any(point["errors"] for point in points)
    return Figure(plot.svg(f"{kind['kind']}: percentiles over time", _says(kind)), caption)


def _apart(shares: Iterable[float]) -> list[float]:
    """Of places close together the first: signs side by side would be a smear on a phone."""
    kept: list[float] = []
    for share in shares:
        if not kept or share - kept[-1] >= _SIGN:
            kept.append(share)
    return kept


def _distribution(kind: Document) -> Figure:
    """Bins of equal width on the logarithmic axis, so that height stands for the number of requests."""
    marks = {q: ms for q, ms in kind["percentiles"] if q in _MARKED}
    bars = _bars([(bound, n) for bound, n in kind["histogram"] if n])
    x = charts.logarithmic([*(edge for low, high, _ in bars for edge in (low, high)), *marks.values()], "ms")
    y = charts.from_zero([n for _, _, n in bars], "", whole=True)
    plot = Plot(f"distribution-{kind['kind']}", x, y, top=_ROW * len(_MARKED) + 6)
    for low, high, n in bars:
        plot.bar(low, high, n, f"{number(low)} to {number(high)} ms: {plural(n, 'request')}")
    _mark(plot, marks)
    caption = "Requests by latency, logarithmic axis. A bar that stands for even one request is a pixel high."
    return Figure(plot.svg(f"{kind['kind']}: distribution of latencies", _says(kind)), caption)


def _bars(bins: Sequence[tuple[float, int]]) -> list[tuple[float, float, int]]:
    """(from ms, to ms, requests): equally wide on a logarithmic axis, none narrower than the bins it holds."""
    bounds = [max(bound, _LEAST_MS) for bound, _ in bins]
    last = math.log(bounds[-1])
    finest = min((math.log(b / a) for a, b in pairwise(bounds) if b > a), default=_LONE)
    step = max(finest, (last - math.log(bounds[0])) / _BINS)
    counts: dict[int, int] = {}
    for bound, (_, n) in zip(bounds, bins, strict=True):
        place = math.floor((last - math.log(bound)) / step + 0.01)  # bounds are rounded
        counts[place] = counts.get(place, 0) + n
    return [(math.exp(last - (at + 1) * step), math.exp(last - at * step), n) for at, n in sorted(counts.items())][::-1]


def _mark(plot: Plot, marks: Mapping[float, float]) -> None:
    """A line at each percentile, its label in a row of its own above the plot: no two can meet, however narrow."""
    for row, (quantile, ms) in enumerate(sorted(marks.items())):
        share, text_y = plot.x.at(ms), 11 + _ROW * row
        at, anchor, dx = (percent(share), "start", 4) if share < 0.6 else (percent(share), "end", -4)
        plot.place(tag("line", class_="mark", x1=at, x2=at, y1=text_y - 9, y2=plot.top + plot.height))
        label = f"{percentile(quantile)} {number(ms)} ms"
        plot.place(tag("text", label, class_="mark-text halo", x=at, y=text_y, dx=dx, text_anchor=anchor))
