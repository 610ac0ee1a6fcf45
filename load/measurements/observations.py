"""What can be read of a target when a run is over: parts that are there, or absent with a reason; counters, log lines.

A part that the target did not offer is absent as `disabled`, one that could not be read as `inconclusive`. Neither can
pass a check.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import psycopg

from harness.http.client import Client
from harness.http.prometheus import parse
from harness.oracles.log_tail import LogTap
from harness.settings import Target
from harness.verdict.thresholds import Status
from load.measurements.run import Run, in_short

T = TypeVar("T")

_NEEDS = {
    "database": "needs DATABASE_URL",
    "fcm": "needs NEXMDM_FCM_URL, the control of a fake FCM",
    "logs": "needs NEXMDM_LOG_FILE",
    "process": "others may use the deployment: needs NEXMDM_BACKEND_PID, a stack of the run's own",
}

Line = dict[str, Any]
Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Absent(Exception):
    """There is nothing to look at. `status`: disabled or inconclusive."""

    def __init__(self, status: Status, why: str) -> None:
        self.status, self.why = status, why
        super().__init__(status, why)

    def __str__(self) -> str:
        return self.why


def needs(run: Run, capability: str) -> None:
    """Absent where the target does not offer it."""
    if capability not in run.capabilities:
        raise Absent(Status.DISABLED, _NEEDS[capability])


@dataclass(frozen=True)
class Part(Generic[T]):
    """One thing that was read, or why it was not."""

    value: T | None = None
    absent: Absent | None = None

    def get(self) -> T:
        """What was read. Absent."""
        if self.absent is not None:
            raise self.absent
        if self.value is None:
            raise Absent(Status.INCONCLUSIVE, "was not looked at")
        return self.value


def observed(read: Callable[[], T], run: Run, *capabilities: str) -> Part[T]:
    """What `read` returns, which needs these capabilities of the target; whatever breaks makes it absent."""
    try:
        for capability in capabilities:
            needs(run, capability)
        return Part(read())
    except Absent as absent:
        return Part(absent=absent)
    except Exception as error:  # noqa: BLE001  # an unreadable part is reported, whatever broke
        return Part(absent=Absent(Status.INCONCLUSIVE, f"could not be read: {in_short(error)}"))


@dataclass(frozen=True)
class Metrics:
    """Counters before and after the run."""

    before: Numbers
    after: Numbers

    def delta(self, name: str, **labels: str) -> float:
        """The growth of all series of `name` that carry these labels. 0 for a series that never appeared."""
        wanted = set(labels.items())

        def total(numbers: Numbers) -> float:
            return sum(value for (series, has), value in numbers.items() if series == name and wanted <= has)

        return total(self.after) - total(self.before)


class Before:
    """What the target held before the run: made and filled then, so that what came to be since can be told."""

    def __init__(self, target: Target, client: Client) -> None:
        self.target, self.client = target, client
        self._log = LogTap(target.log_file) if target.log_file else None
        self._mark = self._log.mark() if self._log else 0
        self._numbers: Numbers | None = None

    def note(self, request_id: str) -> None:
        """Note the counters as they are. Raises what the client and the parser raise."""
        self._numbers = self._read(request_id)

    def metrics(self, request_id: str) -> Metrics:
        """The counters before and now. ValueError: they cannot be read."""
        if self._numbers is None:
            raise ValueError("the counters were not read before the run")
        return Metrics(self._numbers, self._read(request_id))

    def lines(self) -> list[Line]:
        """All log lines since."""
        return self._log.since(self._mark) if self._log else []

    def stream(self) -> Iterator[bytes]:
        """The same, one by one, as they stand in the file: a fleet causes hundreds of thousands."""
        if self._log is not None:
            with self._log.path.open("rb") as file:
                file.seek(self._mark)
                yield from file

    def connect(self) -> psycopg.Connection:
        """A connection that only reads. psycopg.Error."""
        assert self.target.database_url is not None
        connection = psycopg.connect(self.target.database_url, connect_timeout=10)
        connection.read_only = True
        return connection

    def _read(self, request_id: str) -> Numbers:
        answer = self.client.admin("GET", "/metrics", request_id=request_id)
        if answer.status != 200:
            raise ValueError(f"/metrics answered {answer.status}")
        return parse(answer.body.decode())


@dataclass(frozen=True)
class LogErrors:
    """How many lines the log has grown by, how many of them are errors, and a word on each error."""

    lines: int
    errors: list[str]


def is_error(line: Line) -> bool:
    """An ERROR line."""
    return line.get("level") == "ERROR"


def count_errors(stream: Iterator[bytes]) -> LogErrors:
    """Of lines as they stand in the log. ValueError: one that speaks of an ERROR is no JSON."""
    lines, errors = 0, []
    for raw in stream:
        lines += 1
        if b"ERROR" in raw and is_error(line := json.loads(raw)):
            errors.append(str(line.get("event")))
    return LogErrors(lines, errors)
