"""What a person sees while a run of open arrivals goes on: a bar on a terminal, a line now and then elsewhere.

It decides nothing, and shows no secret.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from load.arrivals.run import Arrivals

_LINE_EVERY_S = 10.0


class Live:
    """Shows a run until it is left. Call `update` as often as you like."""

    def __init__(self, arrivals: Arrivals, console: Console) -> None:
        self._arrivals, self._console = arrivals, console
        self._bar: Progress | None = None
        self._phase, self._line_at = "", 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("[bold]{task.description}"), BarColumn(bar_width=24))
            figures = TextColumn("{task.fields[figures]}")
            self._bar = Progress(*columns, TimeElapsedColumn(), figures, console=self._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task("seeding", total=None, figures="")
        return self

    def update(self) -> None:
        run, now = self._arrivals.run, self._arrivals.crew.progress()
        beats = run.leg.beats if run.leg else None
        figures = f"{now.sent}/{beats or '?'} sent · {now.answered} answered" + f" · {now.failed} failed" * bool(
            now.failed
        )
        if self._bar is not None:
            self._bar.update(self._task, description=run.phase, completed=now.sent, total=beats, figures=figures)
        elif run.phase != self._phase or time.monotonic() >= self._line_at:
            self._phase, self._line_at = run.phase, time.monotonic() + _LINE_EVERY_S
            shown = f" · {figures}" if run.leg else ""
            self._console.print(f"{run.fleet.name}: {run.phase}{shown}", highlight=False, soft_wrap=True)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
