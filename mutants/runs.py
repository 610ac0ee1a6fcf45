"""Starts runs of suites, each against a copy of the backend of its own, and reads what they found. It judges nothing.

Runs of named cases share a few workers (worker.py), whose backends start in a third of the time; all others are
commands of their own.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import time
from collections.abc import Sequence
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
from mutants.mutant import Mutant
from mutants.suites import Run
from mutants.worker import OVER

_WITHIN_S: Final = 240.0
_WHOLE_WITHIN_S: Final = 1800.0  # all of a suite, in one process
_MORE_EACH_S: Final = 3.0  # for each further check that a run is asked for
_RUNS_OF_A_WORKER: Final = 60  # then another takes its place: what runs leave behind in a process stays little


@dataclass(frozen=True)
class Ask:
    """What is to be run. mutant: None for the control; checks: none for the whole suite; round: of several, from 0."""

    suite: str
    checks: tuple[str, ...]
    mutant: Mutant | None = None
    round: int = 0

    @property
    def name(self) -> str:
        """What its output is called."""
        name = self.mutant.id if self.mutant else f"control {self.suite} {self.checks[0]}"
        return f"{name} {self.round + 1}" if self.round else name

    @property
    def within_s(self) -> float:
        """How long it may take."""
        return _WITHIN_S + _MORE_EACH_S * (len(self.checks) - 1) if self.checks else _WHOLE_WITHIN_S


class _Worker:
    """One worker process, which takes one run at a time."""

    def __init__(self, python: str, backend_python: str) -> None:
        reading, writing = os.pipe()
        try:
            command = [python, "-m", "mutants.worker", backend_python]
            self.child = Child(command, env=os.environ, stdin=reading)
        finally:
            os.close(reading)
        self._requests = os.fdopen(writing, "w", encoding="utf-8")
        self.left = _RUNS_OF_A_WORKER

    def ask(self, arguments: Sequence[str], env: dict[str, str], output: Path) -> None:
        self.left -= 1
        with contextlib.suppress(BrokenPipeError):  # it has died: the wait for the run sees that
            self._requests.write(json.dumps({"arguments": arguments, "env": env, "output": str(output)}) + "\n")
            self._requests.flush()

    def stop(self) -> None:
        self._requests.close()
        self.child.stop(10.0)


@dataclass
class Started:
    """A run that goes on."""

    ask: Ask
    folder: Path
    child: Child
    begun: float
    worker: _Worker | None = None

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self.child.poll() is not None or (self.folder / OVER).exists()

    def over(self) -> bool:
        """Whether it has ended, or may not go on."""
        return self.ended or time.monotonic() - self.begun > self.ask.within_s


class Runs:
    """Starts and ends runs. Use it as a context manager: it holds the workers."""

    def __init__(self, command: str, pythons: dict[str, str], output: Path) -> None:
        """command: the sound `nexmdm`; pythons: by suite; output: where each run's own words are kept."""
        self._command, self._pythons, self._output = command, pythons, output
        self._package = installed(command)
        self._template: str | None = None
        self._idle: list[_Worker] = []

    def prepare(self, server_url: str) -> None:
        """Migrate one database with the sound backend, for all runs to clone; what breaks migrations makes its own."""
        self._postgres = Postgres.attach(server_url)
        self._postgres.template(partial(migrate, self._command), partial(grant, self._command))
        self._template = self._postgres.template_name

    def start(self, ask: Ask) -> Started:
        """Start it. CatalogueError where the mutant does not fit the backend."""
        folder, mutant = workspace("mutant"), ask.mutant
        command = build(self._command, self._package, mutant.apply if mutant else None, folder)
        settings = {"NEXMDM_BACKEND_COMMAND": str(command), "NEXMDM_ARTIFACTS": str(folder / "artifacts"), "CI": ""}
        if self._template and not (mutant and mutant.file.startswith("schema/migrations/")):
            settings["NEXMDM_TEMPLATE"] = self._template
        env, said = {**os.environ, **settings}, folder / "output.txt"
        said.touch()
        if ask.suite == "acceptance" and ask.checks:
            worker = self._worker()
            worker.ask(suites.cases(ask.checks), env, said)
            return Started(ask, folder, worker.child, time.monotonic(), worker)
        with said.open("wb") as output:
            argv = suites.command(ask.suite, ask.checks, self._pythons)
            return Started(ask, folder, Child(argv, env=env, stdout=output, stderr=output), time.monotonic())

    def end(self, run: Started) -> Run:
        """Wait for its end, or make it end, and read what it has found."""
        try:
            eventually(run.over, math.inf)
        finally:
            self.stop(run)
        found = suites.read(run.folder / "artifacts", run.ask.suite)
        self._output.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.folder / "output.txt", self._output / f"{run.ask.name.replace('/', '.')}.txt")
        shutil.rmtree(run.folder, ignore_errors=True)
        return found

    def stop(self, run: Started) -> None:
        """End its process, unless that is a worker that has ended the run and can take another."""
        if run.worker is None:
            run.child.stop(10.0)
        elif (run.folder / OVER).exists() and run.worker.left and run.child.poll() is None:
            self._idle.append(run.worker)
        else:
            run.worker.stop()

    def close(self) -> None:
        """End the workers."""
        while self._idle:
            self._idle.pop().stop()

    def _worker(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.child.poll() is None:
                return worker
            worker.stop()
        return _Worker(self._pythons["acceptance"], str(Path(self._command).with_name("python")))
