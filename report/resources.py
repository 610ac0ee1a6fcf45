"""What the processes of the backend held over a long run, from resources.csv: a chart for each column, a line for each
process. It knows no column but the time: what is sampled is the scenario's choice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final

from report import charts
from report.charts import Figure, Plot, Point
from report.words import quantity

_TIME: Final = "t_s"
_NAMES: Final = ("process", "role", "pid")
_MOST_POINTS: Final = 240
_UNITS: Final = {"mib": "MiB", "mb": "MB", "bytes": "MiB", "percent": "%", "pct": "%", "s": "s", "ms": "ms"}


def draw(rows: Sequence[Mapping[str, str]]) -> list[Figure]:
    """ValueError for a table without t_s, or without a single number besides it."""
    if _TIME not in rows[0]:
        raise ValueError("no column t_s")
    series: dict[str, dict[str, list[Point]]] = {}
    for row in rows:
        who = " ".join(str(row[name]) for name in _NAMES if row.get(name))
        for column in row.keys() - {_TIME, *_NAMES}:
            value = _number(row[column])
            if value is not None:
                series.setdefault(column, {}).setdefault(who, []).append((float(row[_TIME]), value))
    if not series:
        raise ValueError("no column of numbers")
    return [_figure(column, series[column]) for column in rows[0] if column in series]


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _figure(column: str, lines: dict[str, list[Point]]) -> Figure:
    stem, _, last = column.rpartition("_")
    unit = _UNITS.get(last, "") if stem else ""
    scale = 2**20 if last == "bytes" else 1
    name = (stem if unit else column).replace("_", " ")
    times = [t_s for points in lines.values() for t_s, _ in points]
    x = charts.seconds(min(times), max(times))
    drawn = {who: _thin([(t_s, value / scale) for t_s, value in points], x) for who, points in lines.items()}
    values = [value for points in drawn.values() for _, value in points]
    plot = Plot(f"resource-{column.replace('_', '-')}", x, charts.from_zero(values, unit), height=120)
    for points in drawn.values():
        plot.line(points, "p95", quantity(points[-1][1], unit))
    ends = ((who, *(quantity(points[n][1], unit) for n in (0, -1))) for who, points in drawn.items())
    plot.hit(x.low, x.high, "; ".join(f"{who or name}: {first} to {last}" for who, first, last in ends))
    says = f"{name}{f', {unit}' * bool(unit)}"
    each = f"One line for each of {len(lines)} processes" if len(lines) > 1 else "One line"
    caption = f"{says}. {each}, its last value beside it; a point is the highest of its neighbours. Axis from 0."
    return Figure(plot.svg(name, caption), caption)


def _thin(points: list[Point], x: charts.Axis) -> list[Point]:
    """The highest of the points that fall on the same part of the width."""
    places = groupby(sorted(points), key=lambda point: int(x.at(point[0]) * _MOST_POINTS))
    return [max(group, key=lambda point: point[1]) for _, group in places]
