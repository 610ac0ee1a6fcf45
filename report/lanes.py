"""The swim-lanes: what happened to each device, from timelines.json. It leaves no failed moment out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Final

from markupsafe import Markup

from report import charts
from report.charts import WIDTH, Axis, Figure, percent, tag
from report.words import number, plural

MOST: Final = 100
_BOTTOM: Final = 26
_LABEL: Final = 12
# Event -> symbol of the template's <defs>. Heartbeats are ticks, and the way of a command is a bar besides.
SYMBOLS: Final = {
    "apk_downloaded": "apk",
    "registered": "registered",
    "command": "command",
    "message": "message",
    "result": "result",
    "result_repeated": "repeated",
}
_TICK: Final = "heartbeat"


def shorten(names: Sequence[str]) -> tuple[list[str], str]:
    """The names without an ending after a hyphen that all of them share, and that ending."""
    shared = takewhile(lambda letters: len(set(letters)) == 1, zip(*(name[::-1] for name in names), strict=False))
    ending = "".join(letters[0] for letters in shared)[::-1] if len(names) > 1 else ""
    ending = ending[ending.find("-") :] if "-" in ending else ""
    if not ending or any(name == ending for name in names):
        return list(names), ""
    return [name.removesuffix(ending) for name in names], ending


def draw(timelines: Mapping[str, Any]) -> tuple[Figure, list[str]]:
    """The lanes of the first devices, and the events in them that a legend has to explain."""
    devices = timelines["devices"][:MOST]
    times = [moment["t_ms"] / 1000 for device in devices for moment in device["moments"]]
    x = charts.seconds(min(0.0, *times, 0.0), max(times, default=1.0))
    row = 22 if len(devices) <= 20 else 14
    names, ending = shorten([device["device"] for device in devices])
    shown = enumerate(zip(devices, names, strict=True))
    lanes = [_lane(device, name, 4 + row * n, row, x) for n, (device, name) in shown]
    bottom = 4 + row * len(devices)
    events = sorted({moment["event"] for device in devices for moment in device["moments"]})
    beats = sum(moment["event"] == _TICK for device in devices for moment in device["moments"])
    title = tag("title", "What happened to each device", id="lanes-t")
    says = f"{plural(len(devices), 'device')} over {x.word(x.high)}, {plural(beats, 'heartbeat')}."
    labels = {"aria-labelledby": "lanes-t", "aria-describedby": "lanes-d", "role": "img"}
    parts = (title, tag("desc", says, id="lanes-d"), *time_grid(x, bottom), *lanes)
    size = {"width": "100%", "height": bottom + _BOTTOM}
    svg = tag("svg", *parts, id="lanes", class_="plot lanes" + " dense" * (row < 20), **size, **labels)
    caption = f"{says} One row for each device, time from the start of the run."
    caption += f" All names end in {ending}." * bool(ending)
    if len(timelines["devices"]) > MOST:
        caption += f" These are the first {MOST} of {len(timelines['devices']):,} devices; timelines.json has all."
    return Figure(svg, caption), events


def legend(events: Sequence[str]) -> list[tuple[str, str]]:
    """What each sign stands for; a heartbeat is a tick and has no symbol."""
    known = {_TICK: "", **SYMBOLS}
    signs = [(name.replace("_", " "), symbol) for name, symbol in known.items() if name in events]
    others = [event for event in events if event not in known]
    failed = [event for event in others if event.endswith("_failed")]
    signs += [("failed", "failed")] if failed else []
    return signs + ([("something else", "other")] if len(others) > len(failed) else [])


def time_grid(x: Axis, bottom: int) -> list[Markup]:
    """The grid of an axis of time behind lanes, and its ticks below them."""
    drawn = []
    for value in x.ticks:
        at = percent(x.at(value))
        drawn.append(tag("line", class_="grid", x1=at, x2=at, y1=0, y2=bottom))
        anchor = "start" if x.at(value) < 0.04 else "end" if x.at(value) > 0.96 else "middle"
        drawn.append(tag("text", x.word(value), class_="tick", x=at, y=bottom + 16, text_anchor=anchor))
    return drawn


def _lane(device: Mapping[str, Any], name: str, top: int, row: int, x: Axis) -> Markup:
    middle = top + row / 2
    reached = {event: at / 1000 for event, at in device["milestones"].items() if at is not None}
    shown = name if len(name) <= _LABEL else name[: _LABEL - 1] + "…"
    label = tag("text", tag("title", device["device"]), shown, class_="lane-name", x=0, dx=-8, y=middle + 4)
    begin = percent(x.at(reached.get("registered", x.high)))
    parts = [label, tag("line", class_="life", x1=begin, x2="100%", y1=middle, y2=middle)]
    if "command" in reached and "result" in reached:
        left, right = x.at(reached["command"]), x.at(reached["result"])
        box = {"x": percent(left), "width": percent(max(right - left, 0)), "y": middle - 3, "height": 6}
        parts.append(tag("rect", class_="way", **box))
    parts.append(_beats(device["moments"], middle - row * 0.3, row * 0.6, x))
    for moment in device["moments"]:
        event, at_s = moment["event"], moment["t_ms"] / 1000
        failed = event.endswith("_failed")
        if event == _TICK:
            continue
        says = f"{device['device']}: {event.replace('_', ' ')} at {number(at_s)} s"
        says += "".join(f", {key} {moment[key]}" for key in ("status", "detail") if key in moment)
        symbol = "failed" if failed else SYMBOLS.get(event, "other")
        parts.append(tag("use", tag("title", says), href=f"#mark-{symbol}", x=percent(x.at(at_s)), y=middle))
    return tag("g", *parts)


def _beats(moments: Sequence[Mapping[str, Any]], top: float, height: float, x: Axis) -> Markup:
    """Every heartbeat as a tick in one path; those that fall on the same thousandth of the width are one tick."""
    places = {round(x.at(moment["t_ms"] / 1000) * WIDTH) for moment in moments if moment["event"] == _TICK}
    path = tag("path", class_="beats", d="".join(f"M{place} 0v{height:.1f}" for place in sorted(places)))
    stretch = {"viewBox": f"0 0 {WIDTH} {height:.1f}", "preserveAspectRatio": "none", "class": "stretched"}
    return tag("svg", path, y=f"{top:.1f}", width="100%", height=f"{height:.1f}", **stretch)


def table(timelines: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Milestones as columns, and for each of the first devices the seconds at which it reached them."""
    devices = timelines["devices"][:MOST]
    names = list(dict.fromkeys(name for device in devices for name in device["milestones"]))
    rows = []
    for device in devices:
        reached = [device["milestones"].get(name) for name in names]
        rows.append((device["device"], ["never" if at is None else f"{at / 1000:.2f} s" for at in reached]))
    return [name.replace("_", " ") for name in names], rows
