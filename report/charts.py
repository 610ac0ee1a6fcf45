"""Static SVG: axes, and a plot that stretches with the page while its text keeps its size. It knows no suite.

Horizontal positions are shares of the width, vertical ones pixels. Lines live in a nested SVG that is stretched out of
its proportions (strokes do not scale); text, signs and tooltips stand outside it, placed in percent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from markupsafe import Markup, escape

from report.words import clean, number, quantity

WIDTH: Final = 1000  # of the stretched drawing, in its own units
_TOP: Final = 16
_BOTTOM: Final = 22
_LABEL_GAP: Final = 13
_TIME_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """Values from low to high, on a logarithmic scale if `log`, with a word for each tick."""

    low: float
    high: float
    ticks: tuple[float, ...]
    word: Callable[[float], str]
    log: bool = False

    def at(self, value: float) -> float:
        """The share of the axis, 0 to 1, at which a value lies; one beyond an end lies at that end."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return min(max((value - low) / (high - low), 0.0), 1.0)


def from_zero(values: Sequence[float], unit: str, most_steps: int = 5, *, whole: bool = False) -> Axis:
    """0 to a round number above all values, in a few round steps; `whole`: of things that are counted."""
    most = max((value for value in values if value > 0), default=1.0)
    magnitude = 10.0 ** math.floor(math.log10(most))
    sizes = [s * magnitude for s in (0.2, 0.25, 0.5, 1, 2, 5, 10)]
    step = next(s for s in sizes if most <= s * most_steps and not (whole and s % 1))
    steps = math.ceil(most / step - 1e-9)
    return Axis(0.0, steps * step, tuple(step * n for n in range(steps + 1)), _words(unit))


def logarithmic(values: Sequence[float], unit: str, least: float = 0.01) -> Axis:
    """From the 1, 2 or 5 below all values to the one above; ticks at powers of ten, on short axes at 1, 2 and 5."""
    positive = [max(value, least) for value in values] or [1.0]
    low, high = _round(min(positive), math.floor), _round(max(positive) * 1.02, math.ceil)
    if high <= low:
        low, high = low / 2, high * 2
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low <= 20 else (1,)
    ticks = tuple(t for d in decades for s in steps if low * 0.999 <= (t := s * 10.0**d) <= high * 1.001)
    if math.log(ticks[0] / low) > 0.25 * math.log(high / low):
        ticks = (low, *ticks)  # an axis that does not begin at 0 says where it begins
    return Axis(low, high, ticks, _words(unit), log=True)


def _words(unit: str) -> Callable[[float], str]:
    """How an axis of this unit writes its ticks; there a thousand milliseconds are a second."""
    return lambda v: quantity(v / 1000, "s") if unit == "ms" and v >= 1000 else quantity(v, unit)


def _round(value: float, to: Callable[[float], int]) -> float:
    """The 1-2-5 number below (floor) or above (ceil) a positive value."""
    series = (1, 2, 5, 10)
    decade = 10.0 ** math.floor(math.log10(value))
    below = max(s for s in series if s <= value / decade * 1.0001)
    if to is math.floor or below >= value / decade * 0.9999:
        return below * decade
    return series[series.index(below) + 1] * decade


def seconds(low_s: float, high_s: float) -> Axis:
    """Time since the start of a run, with at most five ticks, at round times."""
    high_s = max(high_s, low_s + 1)
    step = next((s for s in _TIME_STEPS if (high_s - low_s) / s <= 4), _TIME_STEPS[-1])
    ticks = tuple(float(n * step) for n in range(math.ceil(low_s / step), math.floor(high_s / step) + 1))
    in_minutes = step >= 60

    def word(value: float) -> str:
        return f"{number(value / 60)} min" if in_minutes else f"{number(value)} s"

    return Axis(low_s, high_s, ticks, word)


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """One element. Text is cleaned and escaped; `class_` and `font_size` stand for class and font-size."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(clean(value))}"' for key, value in attributes.items()
    )
    inner = "".join(child if isinstance(child, Markup) else escape(clean(child)) for child in children)
    return Markup(f"<{name}{given}>{inner}</{name}>")  # noqa: S704  # every value above was escaped


def percent(share: float) -> str:
    return f"{share * 100:.2f}%"


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones and at least `gap` apart, within low and high as far as they fit."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = [0.0] * len(wanted)
    before = -math.inf
    for i in order:
        before = placed[i] = max(wanted[i], before + gap, low)
    after = high + gap
    for i in reversed(order):
        after = placed[i] = min(placed[i], after - gap)
    return placed


@dataclass(frozen=True)
class Figure:
    """A drawing and the sentence that says what it shows."""

    svg: Markup
    caption: str


@dataclass
class Plot:
    """One drawing. `name` is unique on the page; title and description are what a screen reader says."""

    name: str
    x: Axis
    y: Axis
    height: int = 190
    top: int = _TOP
    _stretched: list[Markup] = field(default_factory=list)
    _placed: list[Markup] = field(default_factory=list)
    _ends: list[tuple[Point, str, str]] = field(default_factory=list)

    def px(self, value: float) -> float:
        """How far below the top of the drawing a value lies, in pixels."""
        return round(self.top + self.height * (1 - self.y.at(value)), 1)

    def line(self, points: Sequence[Point], style: str, label: str = "", gap: float = math.inf) -> None:
        """A line through points whose x rises; it breaks where two are more than `gap` apart. A lone point is a dot."""
        if not points:
            return
        drawn = [f"M{self._xy(points[0])}h0"]
        drawn += [f"L{self._xy(b)}" if b[0] - a[0] <= gap else f"M{self._xy(b)}h0" for a, b in pairwise(points)]
        self._stretched.append(tag("path", class_=f"line {style}", d="".join(drawn)))
        if label:
            self._ends.append((points[-1], label, style))

    def dots(self, points: Sequence[Point], style: str) -> None:
        """A dot for each point, in one path; points on the same spot are one dot."""
        spots = dict.fromkeys(f"M{self._xy(point)}h0" for point in points)
        self._stretched.append(tag("path", class_=f"dots {style}", d="".join(spots)))

    def level(self, value: float, label: str) -> None:
        """A limit: a dashed line over the whole width."""
        y = self.px(value)
        self._placed.append(tag("line", class_="limit", x1=0, x2="100%", y1=y, y2=y))
        self._placed.append(tag("text", label, class_="limit-text halo", x="100%", y=y - 4, text_anchor="end"))

    def bar(self, low: float, high: float, value: float, says: str) -> None:
        """A bar from the bottom; one that stands for something is at least a pixel high."""
        y = min(self.px(value), self.top + self.height - 1)
        left, width = self.x.at(low), self.x.at(high) - self.x.at(low)
        box = {"x": percent(left), "y": y, "width": percent(width), "height": round(self.top + self.height - y, 1)}
        self._placed.append(tag("rect", tag("title", says), class_="bar", **box))

    def hit(self, low: float, high: float, says: str) -> None:
        """A tooltip over everything between two values of x."""
        left, width = self.x.at(low), self.x.at(high) - self.x.at(low)
        box = {"x": percent(left), "y": self.top, "width": percent(width), "height": self.height}
        self._placed.append(tag("rect", tag("title", says), class_="hit", **box))

    def place(self, element: Markup) -> None:
        """Anything else, placed by the caller in percent and pixels."""
        self._placed.append(element)

    def svg(self, title: str, description: str) -> Markup:
        bottom = self.top + self.height
        texts = (tag("title", title, id=f"{self.name}-t"), tag("desc", description, id=f"{self.name}-d"))
        inner = {"viewBox": f"0 0 {WIDTH} {self.height}", "preserveAspectRatio": "none", "class": "stretched"}
        stretched = tag("svg", *self._stretched, y=self.top, width="100%", height=self.height, **inner)
        labelled = {"aria-labelledby": f"{self.name}-t", "aria-describedby": f"{self.name}-d", "role": "img"}
        parts = (*texts, *self._grid(), stretched, *self._placed, *self._end_labels())
        return tag("svg", *parts, id=self.name, class_="plot", width="100%", height=bottom + _BOTTOM, **labelled)

    def _xy(self, point: Point) -> str:
        return f"{self.x.at(point[0]) * WIDTH:.1f} {self.px(point[1]) - self.top:.1f}"

    def _grid(self) -> list[Markup]:
        bottom = self.top + self.height
        drawn = []
        for value in self.y.ticks:
            y = self.px(value)
            drawn.append(tag("line", class_="grid", x1=0, x2="100%", y1=y, y2=y))
            drawn.append(tag("text", self.y.word(value), class_="tick", x=0, dx=-8, y=y + 4, text_anchor="end"))
        drawn.append(tag("line", class_="base", x1=0, x2="100%", y1=bottom, y2=bottom))
        for value in self.x.ticks:
            share = self.x.at(value)
            anchor = "start" if share < 0.04 else "end" if share > 0.96 else "middle"
            word = self.x.word(value)
            drawn.append(tag("line", class_="base", x1=percent(share), x2=percent(share), y1=bottom, y2=bottom + 4))
            drawn.append(tag("text", word, class_="tick", x=percent(share), y=bottom + 17, text_anchor=anchor))
        return drawn

    def _end_labels(self) -> list[Markup]:
        """The name of each line beside its last point, moved apart where lines end close together."""
        ends = self._ends[::-1]  # of lines that end together the later one is the higher percentile: on top
        at = spread([self.px(point[1]) for point, _, _ in ends], _LABEL_GAP, self.top, self.top + self.height)
        return [
            tag("text", label, class_=f"end halo {style}", x=percent(self.x.at(point[0])), dx=8, y=y + 4)
            for y, (point, label, style) in zip(at, ends, strict=True)
        ]
