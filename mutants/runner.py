"""Runs the suites against broken backends, several at a time, and says of each mutant what killed it.

First the control: the same checks against an equal copy that nothing was done to. A check that is red there proves
nothing when it is red for a mutant. It writes no report: artifacts.py does.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from harness.mutation.backend_copy import build, installed
from harness.postgres.server import Postgres
from harness.processes.child import Child, workspace
from harness.stack.backend import grant, migrate
from harness.waiting import eventually
from mutants import suites
from mutants.mutant import CatalogueError, Mutant
from mutants.suites import Run

KILLED: Final = "killed"
ANOTHER: Final = "killed by another"
SURVIVED: Final = "survived"
VOID: Final = "void"
# A backend that does not start, or a fixture that breaks, says nothing about the case that met it.
_NO_PROOF: Final = re.compile(r"^during (setup|teardown)|\b(Backend|Postgres|Fcm|Stack|CommandNotFound)Error\b")
_WITHIN_S: Final = 240.0
_WHOLE_WITHIN_S: Final = 1800.0  # all of a suite, in one process
_MORE_EACH_S: Final = 3.0  # for each further check that a run is asked for


@dataclass(frozen=True)
class Finding:
    """What became of one mutant. `by`: the failed checks; `said`: what the named one, or the trouble, said."""

    mutant: Mutant
    verdict: str
    by: tuple[str, ...]
    said: str
    took_s: float


@dataclass
class _Job:
    """One run of a suite. `whole`: the named check stayed green, so all of the suite is asked."""

    mutant: Mutant
    whole: bool
    folder: Path
    child: Child
    begun: float
    within_s: float

    def over(self) -> bool:
        return self.child.poll() is not None or time.monotonic() - self.begun > self.within_s


class Runner:
    """One runner over a list of mutants."""

    def __init__(self, command: str, pythons: dict[str, str], jobs: int, output: Path) -> None:
        """command: the sound `nexmdm`; pythons: by suite; output: where each run's own words are kept."""
        self._command, self._pythons, self._jobs, self._output = command, pythons, jobs, output
        self._package = installed(command)
        self._template: str | None = None

    def prepare(self, server_url: str) -> None:
        """Migrate one database with the sound backend, for all runs to clone; what breaks migrations makes its own."""
        self._postgres = Postgres.attach(server_url)
        self._postgres.template(partial(migrate, self._command), partial(grant, self._command))
        self._template = self._postgres.template_name

    def control(self, mutants: Sequence[Mutant]) -> dict[tuple[str, str], str]:
        """Why a named check, by suite and id, is not green against a sound copy: of its mutants none is to be run."""
        named = {
            suite: sorted({mutant.caught_by for mutant in mutants if mutant.suite == suite}) for suite in suites.NAMES
        }
        asked = [suite for suite in suites.NAMES if named[suite]]
        trouble: dict[tuple[str, str], str] = {}
        # As later the mutants: what measures time has the machine to itself.
        for timed in (False, True):
            started = {
                suite: self._start(None, suite, named[suite], whole=False, jobs=self._jobs)
                for suite in asked
                if (suite in suites.TIMED) is timed
            }
            for suite, job in started.items():
                run = self._end(job, suite, f"control-{suite}")
                for name in named[suite]:
                    if run.void or name not in run.passed:
                        trouble[suite, name] = run.void or "is not green"
        return trouble

    def run(self, mutants: Sequence[Mutant]) -> Iterator[Finding]:
        """A finding per mutant, in the order in which they end. What measures time has the machine to itself."""
        together = [mutant for mutant in mutants if mutant.suite not in suites.TIMED]
        alone = [mutant for mutant in mutants if mutant.suite in suites.TIMED]
        yield from self._pool(together, self._jobs)
        yield from self._pool(alone, 1)

    def _pool(self, mutants: Sequence[Mutant], jobs: int) -> Iterator[Finding]:
        waiting = [(mutant, False) for mutant in reversed(mutants)]
        running: list[_Job] = []
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    mutant, whole = waiting.pop()
                    try:
                        named = [] if whole else [mutant.caught_by]
                        running.append(self._start(mutant, mutant.suite, named, whole=whole, jobs=1))
                    except CatalogueError as error:
                        yield Finding(mutant, VOID, (), str(error), 0.0)
                if not running:
                    continue  # what was waiting turned out to be stale
                eventually(lambda: any(job.over() for job in running), math.inf, what="the end of a run")
                for job in [job for job in running if job.over()]:
                    running.remove(job)
                    finding = self._judge(job)
                    if finding is None:
                        waiting.append((job.mutant, True))
                    else:
                        yield finding
        finally:
            for job in running:
                job.child.stop(5.0)

    def _start(self, mutant: Mutant | None, suite: str, named: Sequence[str], *, whole: bool, jobs: int) -> _Job:
        folder = workspace("mutant")
        command = build(self._command, self._package, mutant.apply if mutant else None, folder)
        settings = {"NEXMDM_BACKEND_COMMAND": str(command), "NEXMDM_ARTIFACTS": str(folder / "artifacts"), "CI": ""}
        if self._template and not (mutant and mutant.file.startswith("schema/migrations/")):
            settings["NEXMDM_TEMPLATE"] = self._template
        with (folder / "output.txt").open("wb") as output:
            child = Child(
                suites.command(suite, named, self._pythons, jobs),
                env=os.environ | settings,
                stdout=output,
                stderr=output,
            )
        any_fault = mutant or Mutant("control", "nothing", "200", "", "", "", "", suite=suite)
        within_s = _WHOLE_WITHIN_S if whole else _WITHIN_S + _MORE_EACH_S * max(0, len(named) - 1)
        return _Job(any_fault, whole, folder, child, time.monotonic(), within_s)

    def _end(self, job: _Job, suite: str, name: str) -> Run:
        try:
            eventually(job.over, math.inf)
        finally:
            job.child.stop(10.0)
        run = suites.read(job.folder / "artifacts", suite)
        self._output.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(job.folder / "output.txt", self._output / f"{name.replace('/', '.')}.txt")
        shutil.rmtree(job.folder, ignore_errors=True)
        return run

    def _judge(self, job: _Job) -> Finding | None:
        """None: the named check stayed green, and the whole suite has to be asked."""
        mutant, took_s = job.mutant, time.monotonic() - job.begun
        run = self._end(job, mutant.suite, mutant.id)
        if run.void:
            return Finding(mutant, VOID, (), run.void, took_s)
        by, said = tuple(sorted(run.failed)), run.failed.get(mutant.caught_by, "")
        if mutant.caught_by in run.failed:
            verdict = VOID if _NO_PROOF.search(said) else KILLED
            return Finding(mutant, verdict, by, said, took_s)
        if mutant.caught_by not in run.passed:
            return Finding(mutant, VOID, by, f"{mutant.caught_by} did not run", took_s)
        if not job.whole:
            return None
        return Finding(mutant, ANOTHER if by else SURVIVED, by, "; ".join(run.failed.values())[:300], took_s)
