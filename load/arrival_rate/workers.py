"""Who sends the requests of a leg: the protocol, and one sending process. It plans nothing.

Several processes: load/locust_runner/workers.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from load.arrival_rate.catalogue import WORKLOADS
from load.arrival_rate.process import Sender
from load.arrival_rate.schedule import Leg
from load.arrival_rate.workload import Assignment, Subject, WorkerConfig
from load.measurements.tally import Tally


@dataclass
class Progress:
    """What is known of the present leg while it runs."""

    sent: int = 0
    answered: int = 0
    failed: int = 0


class Workers(Protocol):
    """One or more processes that send the requests of a leg."""

    def configure(self, assignment: Assignment) -> None:
        """Give every process its part of the whole. SenderLost; what its source raises."""
        ...

    def run(self, leg: Leg) -> Tally:
        """Send a leg and return what all processes together have counted. SenderLost."""
        ...

    def progress(self) -> Progress: ...

    def partial(self) -> Tally | None:
        """What is known of a leg that was cut short."""
        ...

    def stop(self) -> None: ...


def reader(assignment: Assignment) -> Callable[[Mapping[str, Any]], Tally]:
    """Reads the tallies of its processes."""
    read_ledger = WORKLOADS[assignment.workload].read_ledger
    return lambda document: Tally.from_dict(document, read_ledger)


@dataclass(frozen=True)
class Source:
    """What a process on this machine sends by: what an assignment does not say comes from the environment."""

    base_url: str
    subject: Subject

    def config(self, assignment: Assignment) -> WorkerConfig:
        """psycopg.Error: the subject is not to be reached."""
        clock = self.subject.clock()
        return WorkerConfig(
            base_url=self.base_url,
            tokens=self.subject.tokens(assignment),
            ahead_s=clock.now() - time.monotonic(),
            uncertainty_s=clock.uncertainty_s,
            **assignment.to_dict(),
        )


class LocalWorker:
    """One sending process, of this one."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._sender: Sender | None = None
        self._progress = Progress()

    def configure(self, assignment: Assignment) -> None:
        self._read = reader(assignment)
        self._sender = Sender(self._source.config(assignment))

    def run(self, leg: Leg) -> Tally:
        assert self._sender is not None, "configure comes first"
        self._progress = Progress()
        tally = self._read(self._sender.run(leg, self._on_progress))
        self._progress = Progress(tally.sent, tally.answered, tally.failed)
        return tally

    def progress(self) -> Progress:
        return self._progress

    def partial(self) -> Tally | None:
        counted = self._sender.cut_short() if self._sender else None
        return None if counted is None else self._read(counted)

    def stop(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.stop()

    def _on_progress(self, counted: Mapping[str, int]) -> None:
        self._progress = Progress(**counted)
