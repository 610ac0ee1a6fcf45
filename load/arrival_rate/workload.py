"""What an arrival rate sends, and what must exist in the target afterwards: the seam between pipeline and subject.

A workload is a module like heartbeats.py, and a line in catalogue.py.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from harness.open_loop.exchange import Exchange
from harness.settings import Target
from harness.verdict.thresholds import Check
from load.arrival_rate.run import ArrivalRateRun
from load.arrival_rate.schedule import Leg
from load.measurements.observations import LogErrors, Metrics, Part
from load.measurements.server_clock import ServerClock
from load.measurements.tally import Ledger
from load.verdict.check import RunCheck, log_errors


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A process's part of a run. It holds no secret and no clock, so that it can go to another machine.

    A process has every `processes`-th device from `index` on. run: its tag, from which the devices are derived; origin:
    its beginning, server time; workload: its name in catalogue.py; mix: kinds of requests, each with its share.
    """

    devices: int
    seed: int
    run: str
    origin: float
    workload: str
    index: int = 0
    processes: int = 1
    interval_s: float = 1.0
    timeout_s: float = 10.0
    bucket_s: float = 10.0
    mix: Sequence[tuple[str, float]] = ()

    @property
    def own(self) -> range:
        """The numbers of its devices."""
        return range(self.index, self.devices, self.processes)

    def to_dict(self) -> dict[str, Any]:
        """For a message between processes."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        return cls(**document)


@dataclass(frozen=True, kw_only=True)
class WorkerConfig(Assignment):
    """What a process needs to send: where to, as whom, and by which clock.

    tokens: of its own devices. ahead_s: server time - this machine's monotonic clock; uncertainty_s: how well that is
    known.
    """

    base_url: str
    tokens: Sequence[str] = field(repr=False)
    ahead_s: float
    uncertainty_s: float = 0.0


class Requests(Protocol):
    """What one process sends."""

    def of(self, leg: Leg) -> Iterator[Exchange]:
        """Those of a leg, in order of time; due times are of time.monotonic(). Latencies are kept by their `kind`."""
        ...

    def accept(self, exchange: Exchange, ledger: Any) -> bool:
        """Whether the answer is the wanted one; notes in the ledger what it must have left behind."""
        ...


def json_object(body: bytes) -> dict[str, Any]:
    """What an answer says; {} where that is no JSON object."""
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


@dataclass
class Observations:
    """rows: those that the run's requests may have left, as its workload reads them. verified: checks that its workload
    has judged itself."""

    rows: Part[list[Any]] = field(default_factory=Part)
    verified: Part[Sequence[Check]] = field(default_factory=Part)
    metrics: Part[Metrics] = field(default_factory=Part)
    log: Part[LogErrors] = field(default_factory=Part)


Checks = Sequence[RunCheck[ArrivalRateRun, Observations]]


class Subject(ABC):
    """Whom the requests are sent for, and where that is looked up afterwards. checks: what must exist then.

    A subclass need not have `settle`, `disturbed`, `verified`, `facts`, `files` and `close`.
    """

    checks: Checks

    @abstractmethod
    def clock(self) -> ServerClock:
        """By which the server tells time."""

    @abstractmethod
    def begin(self, run: ArrivalRateRun) -> None:
        """Note what is there already."""

    @abstractmethod
    def seed(self, whole: Assignment) -> None:
        """Make whom the run is for."""

    def settle(self) -> None:  # noqa: B027  # most have nothing to wait for
        """Whatever must have come to rest between warm-up and measurement."""

    def disturbed(self) -> AbstractContextManager[None]:
        """What goes on beside the measured requests."""
        return nullcontext()

    @abstractmethod
    def tokens(self, part: Assignment) -> list[str]:
        """The credentials of this part, as every process can derive them."""

    @abstractmethod
    def observe(self, run: ArrivalRateRun) -> Observations:
        """Read what came to be since `begin`."""

    def verified(self, seen: Observations) -> Sequence[Check]:  # noqa: ARG002  # of those with a judge of their own
        """Checks beside `checks`, which were judged where the observations were made."""
        return ()

    def facts(self, run: ArrivalRateRun) -> dict[str, str | int | float | bool | None]:  # noqa: ARG002  # of those with more
        """Figures beside those of every run."""
        return {}

    def files(self, directory: Path) -> list[str]:  # noqa: ARG002  # of those that have some
        """Write what was observed, beyond what every run writes; returns the names."""
        return []

    def close(self) -> None:  # noqa: B027  # most leave nothing
        """Leave nothing that may be in somebody's way. Called once, also after a run that was ended early."""


@dataclass(frozen=True)
class Workload:
    """subject: SettingsError where the target cannot have one."""

    requests: Callable[[WorkerConfig], Requests]
    ledger: Callable[[], Ledger]
    read_ledger: Callable[[Mapping[str, Any]], Ledger]
    subject: Callable[[Target], Subject]


LOG_ERRORS: RunCheck[ArrivalRateRun, Observations] = log_errors(lambda seen: seen.log)
