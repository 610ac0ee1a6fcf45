"""A lane for each student, grouped by lab, from students.json: when it waited, had a sandbox, had vanished."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
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
STATES: Final = {"waiting": "waits", "holding": "has a sandbox", "left": "has vanished, its sandbox has not ended"}
# Event -> symbol of the template's <defs>. What is not here (looked, repeated, refused) is a tick.
SYMBOLS: Final = {"extended": "other", "released": "result", "expired": "repeated", "failed": "failed"}


def draw(document: Mapping[str, Any]) -> Figure:
    """The lanes of the first students."""
    students = document["students"][:MOST]
    spans = [span for student in students for span in student["spans"]]
    x = charts.seconds(0.0, max((span["to_ms"] / 1000 for span in spans), default=1.0))
    top, drawn = 0, []
    for lab, group in groupby(students, key=lambda student: student["lab"]):
        drawn.append(tag("text", lab, class_="lab", x=0, y=top + _HEAD - 7))
        top += _HEAD
        for student in group:
            drawn.append(_lane(student, top, x))
            top += _ROW
    says = f"{plural(len(students), 'student')} over {x.word(x.high)}. {_counted(students)}"
    parts = (tag("title", "What happened to each student", id="students-t"), tag("desc", says, id="students-d"))
    labels = {"aria-labelledby": "students-t", "aria-describedby": "students-d", "role": "img"}
    svg = tag(
        "svg",
        *parts,
        *time_grid(x, top),
        *drawn,
        id="students-plot",
        class_="plot lanes dense",
        width="100%",
        height=top + _BOTTOM,
        **labels,
    )
    caption = f"{says} One row for each student, time from the start of the run."
    if len(document["students"]) > MOST:
        caption += f" These are the first {MOST} of {len(document['students']):,}; students.json has all."
    return Figure(svg, caption)


def _counted(students: list[dict[str, Any]]) -> str:
    counts = Counter(moment["event"] for student in students for moment in student["moments"])
    return ", ".join(f"{number(count)} x {event}" for event, count in sorted(counts.items())) + "."


def _lane(student: Mapping[str, Any], top: int, x: Axis) -> Markup:
    middle = top + _ROW / 2
    parts = [tag("text", student["student"], class_="lane-name", x=0, dx=-8, y=middle + 4)]
    for span in student["spans"]:
        low, high = span["from_ms"] / 1000, span["to_ms"] / 1000
        says = f"{student['student']} {STATES[span['state']]}: {number(low)} to {number(high)} s"
        box = {"x": percent(x.at(low)), "width": percent(x.at(high) - x.at(low)), "y": middle - 5, "height": 10}
        parts.append(tag("rect", tag("title", says), class_=f"span {span['state']}", **box))
    for moment in student["moments"]:
        event, at = moment["event"], percent(x.at(moment["t_ms"] / 1000))
        if event in SYMBOLS:
            status = f" ({moment['status']})" if "status" in moment else ""
            says = tag("title", f"{student['student']}: {event}{status} at {number(moment['t_ms'] / 1000)} s")
            parts.append(tag("use", says, href=f"#mark-{SYMBOLS[event]}", x=at, y=middle))
        else:
            parts.append(tag("line", class_=f"tick-{event}", x1=at, x2=at, y1=middle - 3, y2=middle + 3))
    return tag("g", *parts)


def legend(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the signs of the moments stand for."""
    events = {moment["event"] for student in document["students"] for moment in student["moments"]}
    return [(event, symbol) for event, symbol in SYMBOLS.items() if event in events]
