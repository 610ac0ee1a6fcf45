"""What an arrival rate sends, and what must exist in the target afterwards: the seam between pipeline and subject.

A workload is a module like heartbeats.py, and a line in catalogue.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, Self

from harness.open_loop.exchange import Exchange
from harness.settings import Target
from harness.verdict.thresholds import Status
from load.arrival_rate.run import ArrivalRateRun
from load.arrival_rate.schedule import Leg
from load.measurements.observations import Absent, LogErrors, Metrics, Part
from load.measurements.server_clock import ServerClock
from load.measurements.tally import Ledger
from load.verdict.check import Finding, RunCheck


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A process's part of a run. It holds no secret and no clock, so that it can go to another machine.

    A process has every `processes`-th device from `index` on. run: its tag, from which the devices are derived; origin:
    its beginning, server time; workload: its name in catalogue.py.
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


@dataclass
class Observations:
    """rows: those that the run's requests may have left, as its workload reads them."""

    rows: Part[list[Any]] = field(default_factory=Part)
    metrics: Part[Metrics] = field(default_factory=Part)
    log: Part[LogErrors] = field(default_factory=Part)


Checks = Sequence[RunCheck[ArrivalRateRun, Observations]]


class Subject(Protocol):
    """Whom the requests are sent for, and where that is looked up afterwards. checks: what must exist then."""

    checks: Checks

    def clock(self) -> ServerClock: ...

    def begin(self, run: ArrivalRateRun) -> None:
        """Note what is there already."""
        ...

    def seed(self, whole: Assignment) -> None:
        """Make whom the run is for."""
        ...

    def tokens(self, part: Assignment) -> list[str]:
        """The credentials of this part, as every process can derive them."""
        ...

    def observe(self, run: ArrivalRateRun) -> Observations:
        """Read what came to be since `begin`."""
        ...


@dataclass(frozen=True)
class Workload:
    """subject: SettingsError where the target cannot have one."""

    requests: Callable[[WorkerConfig], Requests]
    ledger: Callable[[], Ledger]
    read_ledger: Callable[[Mapping[str, Any]], Ledger]
    subject: Callable[[Target], Subject]


def _log_errors(_: ArrivalRateRun, seen: Observations) -> Finding:
    log = seen.log.get()
    if not log.lines:
        raise Absent(Status.INCONCLUSIVE, "the log has no line of this run")
    return Finding(log.errors, f"{log.lines} log lines, {len(log.errors)} of them errors")


LOG_ERRORS: RunCheck[ArrivalRateRun, Observations] = RunCheck("log-errors", "no ERROR line in the log", _log_errors)
