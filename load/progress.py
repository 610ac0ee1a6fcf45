"""What a person sees while a run goes on: a bar on a terminal, a line now and then elsewhere. It decides nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import gevent
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from load.measurements.run import Run

_LINE_EVERY_S, _LOOK_EVERY_S = 10.0, 0.2
_STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow", "disabled": "dim"}


@dataclass(frozen=True)
class Now:
    """Where a run is. `line`: what stands behind its phase where there is no bar."""

    phase: str
    figures: str
    done: float = 0.0
    total: float | None = None
    line: str = ""


class Live:
    """Shows a run until it is left. Call `update` as often as you like."""

    def __init__(self, name: str, console: Console) -> None:
        self._name, self._console = name, console
        self._bar: Progress | None = None
        self._phase, self._line_at = "", 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=24),
                TimeElapsedColumn(),
                TextColumn("{task.fields[figures]}"),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("starting", total=None, figures="")
        return self

    def update(self, now: Now) -> None:
        if self._bar is not None:
            self._bar.update(
                self._task, description=now.phase, completed=now.done, total=now.total, figures=now.figures
            )
        elif now.phase != self._phase or time.monotonic() >= self._line_at:
            self._phase, self._line_at = now.phase, time.monotonic() + _LINE_EVERY_S
            self._console.print(f"{self._name}: {now.phase}{now.line}", highlight=False, soft_wrap=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()


class Conducted(Protocol):
    """One run, whichever engine it has; gevent runs it."""

    @property
    def run(self) -> Run: ...

    def begin(self) -> gevent.Greenlet[[], None]:
        """Start it; returns the greenlet that ends with it."""
        ...

    def end(self, why: str) -> None:
        """Stop it where it is not over: it is then inconclusive."""
        ...

    def now(self) -> Now: ...

    def conclude(self, directory: Path) -> dict[str, Any]:
        """Judge it as it stands and write its artifacts. Returns the document of result.json."""
        ...


def follow(conducted: Conducted, directory: Path, console: Console) -> dict[str, Any]:
    """Conduct it to its end, or to Ctrl-C, and show how far it is. Returns the document of result.json."""
    try:
        greenlet = conducted.begin()
        with Live(conducted.run.scenario.name, console) as live:
            while not greenlet.ready():
                gevent.sleep(_LOOK_EVERY_S)
                live.update(conducted.now())
    except KeyboardInterrupt:
        pass
    finally:
        conducted.end("interrupted")
    return conducted.conclude(directory)


def show(document: dict[str, Any], directory: Path, console: Console) -> None:
    """The outcome in a few lines; the whole of it is in summary.md."""

    def line(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, soft_wrap=True)

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, right in (("limit", False), ("observed", True), ("wanted", True), ("n", True), ("", False)):
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for limit in document["limits"]:
        observed = "-" if limit["observed"] is None else f"{limit['observed']:.4g} {limit['unit']}".rstrip()
        wanted = f"{limit['op']} {limit['value']:g} {limit['unit']}".rstrip()
        table.add_row(limit["name"], observed, wanted, str(limit["n"]), limit["status"], style=_STYLES[limit["status"]])
    console.print(table)
    for check in document["checks"]:
        line(f"{check['status']:>12}  {check['title']}: {check['detail']}", _STYLES[check["status"]])
    verdict = document["verdict"]
    for note in document["notes"]:
        line(f"note: {note}", "dim")
    for reason in document["reasons"]:
        line(f"because {reason}", _STYLES[verdict])
    line(
        f"{document['suite']}: {verdict} (exit code {document['exit_code']}), {document['wall_s']:.0f} s",
        _STYLES[verdict],
    )
    line(str(directory / "summary.md"))
