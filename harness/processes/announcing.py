"""A module of ours as a child process that says in one JSON line where it serves: the parent's side and the child's."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.processes.child import (
    Child,
    ChildEndedError,
    announced,
    bare_environment,
    last_lines,
    python_module,
    workspace,
)
from harness.processes.starters import Process
from harness.settings import HarnessError
from harness.waiting import WaitTimeout

_START_WITHIN_S = 20.0


class AnnouncingChild:
    """The parent's side. It can be started again after its end; `folder` is its own and stays."""

    def __init__(
        self, module: str, what: str, *, error: type[HarnessError] = HarnessError, log: Path | None = None
    ) -> None:
        """what: what errors call it; error: what is raised, with its last words; log: where its stderr is appended."""
        self.folder = workspace(module.rpartition(".")[2])
        self._module, self._what, self._error = module, what, error
        self._log = log or self.folder / "stderr"
        self._child: Child | None = None

    def launch(self, *arguments: str) -> None:
        """Start it, and return at once."""
        with (self.folder / "stdout").open("wb") as stdout, self._log.open("ab") as stderr:
            command, env = python_module(self._module)
            self._child = Child([*command, *arguments], env=bare_environment(env), stdout=stdout, stderr=stderr)

    def wait_ready(self) -> dict[str, Any]:
        """What it has announced, once it has. The error that was given where it ends or says nothing in time."""
        child = self._running()
        try:
            said = announced(child, self.folder / "stdout", _START_WITHIN_S, what=self._what)
        except ChildEndedError as error:
            raise self._error(f"{error}\n{last_lines(self._log)}") from None
        except WaitTimeout as error:
            self.stop()
            raise self._error(f"{error}\n{last_lines(self._log)}") from None
        found: dict[str, Any] = json.loads(said)
        return found

    @property
    def process(self) -> Process:
        """The process. The error that was given when it does not run."""
        return self._running().process

    @property
    def pid(self) -> int:
        """Process id. The error that was given when it does not run."""
        return self._running().pid

    def stop(self, first: signal.Signals = signal.SIGTERM) -> None:
        """End it; safe to call twice."""
        child, self._child = self._child, None
        if child is not None:
            child.stop(2.0, first=first)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _running(self) -> Child:
        if self._child is None:
            raise self._error(f"{self._what} does not run")
        return self._child


def announce(**said: Any) -> None:
    """The child's side: it serves from now on, and this is where."""
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


async def until_stopped() -> None:
    """The child's side: return at SIGINT or SIGTERM."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
