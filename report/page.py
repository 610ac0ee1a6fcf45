"""The page: one self-contained HTML file from the artifacts of a suite folder. It needs no network and no
script, and what it shows is what the artifacts say: it judges nothing itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.verdict.artifacts import write_text
from report import capacity, grid, lanes, latency, platform, pool, resources, students, words
from report.charts import Figure
from report.limits import Bar, bar
from report.sources import Sources, read

NAME: Final = "report.html"
_HERE: Final = Path(__file__).parent
_MOST_CHECKS: Final = 24
_PLACES: Final = {
    "latency.json": "percentiles and distributions",
    "timelines.json": "the way of each device",
    "matrix.json": "operations by status and case",
}


def write(directory: Path) -> Path:
    """Write report.html into the folder and return its path. Raises ReportError as `render`, and OSError."""
    path = directory / NAME
    write_text(path, render(directory))
    return path


def render(directory: Path) -> str:
    """The whole page. Raises ReportError for a missing or invalid result.json, and for nothing else in the folder."""
    sources = read(directory)
    template = _environment().get_template("page.html.j2")
    return template.render(_view(sources))


def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader(_HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters.update(
        number=words.number,
        quantity=words.quantity,
        span=words.span,
        moment=words.moment,
        percentile=words.percentile,
        slug=lambda text: re.sub(r"[^A-Za-z0-9]+", "-", text),
    )
    return environment


def _finalize(value: Any) -> Any:
    """Text from artifacts loses its terminal codes and control characters; Jinja2 escapes it afterwards."""
    return words.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _view(sources: Sources) -> dict[str, Any]:
    """All that the template shows."""
    result = sources.result
    style = Markup((_HERE / "style.css").read_text(encoding="utf-8"))  # noqa: S704  # our own file

    def drawn(name: str, draw: Callable[[], Any]) -> Any:
        # A file that its schema accepts can still hold what no chart can show; the page then says so.
        try:
            return draw()
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            sources.unusable[name] = f"cannot be drawn: {type(error).__name__}: {error}"[:300]
            return None

    def kinds() -> list[latency.Kind]:
        return latency.kinds(sources.latency, result["limits"], sources.samples)

    has_devices = bool(sources.timelines.get("devices"))
    lane: tuple[Figure, list[str]] | None = None
    if has_devices:
        lane = drawn("timelines.json", lambda: lanes.draw(sources.timelines))
    student = drawn("students.json", lambda: students.draw(sources.students)) if sources.students else None
    some_students = [student] if student else []
    some_of_platform = (
        (drawn("platform.json", lambda: platform.draw(sources.platform)) or []) if sources.platform else []
    )
    view = {
        "style": style,
        "signs": words.SIGNS,
        "meaning": words.meaning(result),
        "operators": words.OPERATORS,
        "capability_words": words.CAPABILITIES,
        "result": result,
        "tallies": list(filter(None, (words.tally(result["limits"], "limit"), words.tally(result["checks"], "check")))),
        "limits": _limits(result),
        "checks": _checks(result, fold=len(result["checks"]) > _MOST_CHECKS or bool(sources.mutants)),
        "kinds": drawn("latency.json", kinds) if sources.latency else None,
        "latency": sources.latency,
        "quantiles": latency.columns(sources.latency) if sources.latency else [],
        "stages": (drawn("latency.json", lambda: capacity.draw(sources.latency)) or []) if sources.latency else [],
        "lane": lane,
        "legend": lanes.legend(lane[1]) if lane else [],
        "lane_table": lanes.table(sources.timelines) if has_devices else None,
        "spans": [*some_students, *some_of_platform],
        "pool": (drawn("pool.json", lambda: pool.draw(sources.pool)) or []) if sources.pool else [],
        "resources": (drawn("resources.csv", lambda: resources.draw(sources.resources)) or [])
        if sources.resources
        else [],
        "failures": sources.failures,
        "more_failures": sources.more_failures,
        "log": sources.log,
        "grid": grid.grid(sources.matrix) if sources.matrix else None,
        "matrix_from": sources.matrix_from,
        "mutants": sources.mutants.get("mutants", []),
        "chaos": sources.chaos.get("faults", []),
        "chaos_kinds": _by_kind(sources.chaos.get("faults", [])),
        "files": _files(sources),
    }
    absent = [f"{name} ({_PLACES[name]})" for name in sources.absent if name in _PLACES]
    return view | {"absent": absent, "unusable": sources.unusable}


def _by_kind(faults: list[dict[str, Any]]) -> dict[str, Counter[str]]:
    """What was answered to each kind of write, over all faults."""
    kinds: dict[str, Counter[str]] = {}
    for fault in faults:
        for kind, counts in fault["kinds"].items():
            kinds.setdefault(kind, Counter()).update(counts)
    return kinds


def _limits(result: dict[str, Any]) -> list[tuple[dict[str, Any], Bar]]:
    return [(limit, bar(limit)) for limit in result["limits"]]


def _checks(result: dict[str, Any], *, fold: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Those to show at once and those to fold away: of many checks, the ones that hold."""
    holding = [one for one in result["checks"] if fold and one["status"] == "pass"]
    return [one for one in result["checks"] if one not in holding], holding


def _files(sources: Sources) -> list[str]:
    """What the run names and what else the folder holds, as far as it is there; never the report itself."""
    named = ["result.json", "summary.md", *sources.result["files"]]
    there = sorted(
        path.name for path in sources.directory.iterdir() if re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", path.name)
    )
    return [name for name in dict.fromkeys([*named, *there]) if name != NAME and (sources.directory / name).exists()]
