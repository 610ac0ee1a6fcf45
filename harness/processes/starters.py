"""Who may start a child in another way than by executing its command: harness/processes/warm_starts.py does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol

Stream = int | IO[bytes] | None


class Process(Protocol):
    """What a started process is to its Child. subprocess.Popen is one."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None:
        """The exit code, None while it runs."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal, unless it is over."""


@dataclass(frozen=True)
class Start:
    """A process to be started: argv, whole environment, stdin, stdout and stderr, the FIFO on which it names itself."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path | str | None
    streams: tuple[Stream, Stream, Stream]
    announce: str


# The first that returns a process has started it; without one the command is executed.
STARTERS: Final[list[Callable[[Start], Process | None]]] = []
