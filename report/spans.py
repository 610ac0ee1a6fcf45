"""A lane for each of many, in groups: the spans of its states, and what happened to it as signs or ticks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from markupsafe import Markup

from report import charts
from report.charts import Axis, Figure, percent, tag
from report.lanes import time_grid
from report.words import number, plural

MOST: Final = 200
_ROW: Final = 14
_HEAD: Final = 22
_BOTTOM: Final = 26


@dataclass(frozen=True)
class Kind:
    """What has lanes. noun: one of it; file: the artifact that has all. states: by name, what is said of one in it.
    symbols: event -> symbol of the template's <defs>; an event that is not here is a tick, and
    means what `tick` says."""

    noun: str
    file: str
    states: Mapping[str, str]
    symbols: Mapping[str, str]
    tick: str | None = None

    @property
    def id(self) -> str:
        return f"{self.noun}s"


@dataclass(frozen=True)
class Drawn:
    """A section of the page. legend: what the signs stand for."""

    kind: Kind
    figure: Figure
    legend: list[tuple[str, str]]


def draw(kind: Kind, rows: Sequence[Mapping[str, Any]]) -> Drawn:
    """The lanes of the first rows, each with a name, a group, spans and moments."""
    shown = rows[:MOST]
    spans = [span for row in shown for span in row["spans"]]
    x = charts.seconds(0.0, max((span["to_ms"] / 1000 for span in spans), default=1.0))
    top, drawn = 0, []
    for group, members in groupby(shown, key=lambda row: row["group"]):
        drawn.append(tag("text", group, class_="lab", x=0, y=top + _HEAD - 7))
        top += _HEAD
        for row in members:
            drawn.append(_lane(kind, row, top, x))
            top += _ROW
    says = f"{plural(len(shown), kind.noun)} over {x.word(x.high)}. {_counted(shown)}"
    parts = (
        tag("title", f"What happened to each {kind.noun}", id=f"{kind.id}-t"),
        tag("desc", says, id=f"{kind.id}-d"),
    )
    labels = {"aria-labelledby": f"{kind.id}-t", "aria-describedby": f"{kind.id}-d", "role": "img"}
    svg = tag(
        "svg",
        *parts,
        *time_grid(x, top),
        *drawn,
        id=f"{kind.id}-plot",
        class_="plot lanes dense",
        width="100%",
        height=top + _BOTTOM,
        **labels,
    )
    caption = f"{says} One row for each {kind.noun}, time from the start of the run."
    if len(rows) > MOST:
        caption += f" These are the first {MOST} of {len(rows):,}; {kind.file} has all."
    events = {moment["event"] for row in rows for moment in row["moments"]}
    return Drawn(kind, Figure(svg, caption), [pair for pair in kind.symbols.items() if pair[0] in events])


def _counted(rows: Sequence[Mapping[str, Any]]) -> str:
    counts = Counter(moment["event"] for row in rows for moment in row["moments"])
    return ", ".join(f"{number(count)} x {event}" for event, count in sorted(counts.items())) + "."


def _lane(kind: Kind, row: Mapping[str, Any], top: int, x: Axis) -> Markup:
    middle, name = top + _ROW / 2, row["name"]
    shown = name.removeprefix(f"{row['group']}-")
    parts = [tag("text", shown, class_="lane-name", x=0, dx=-8, y=middle + 4)]
    for span in row["spans"]:
        low, high = span["from_ms"] / 1000, span["to_ms"] / 1000
        says = f"{name} {kind.states[span['state']]}: {number(low)} to {number(high)} s"
        box = {"x": percent(x.at(low)), "width": percent(x.at(high) - x.at(low)), "y": middle - 5, "height": 10}
        parts.append(tag("rect", tag("title", says), class_=f"span {span['state']}", **box))
    for moment in row["moments"]:
        event, at = moment["event"], percent(x.at(moment["t_ms"] / 1000))
        if event in kind.symbols:
            status = f" ({moment['status']})" if "status" in moment else ""
            says = tag("title", f"{name}: {event}{status} at {number(moment['t_ms'] / 1000)} s")
            parts.append(tag("use", says, href=f"#mark-{kind.symbols[event]}", x=at, y=middle))
        else:
            parts.append(tag("line", class_=f"tick-{event}", x1=at, x2=at, y1=middle - 3, y2=middle + 3))
    return tag("g", *parts)
