"""What one process has counted in one leg, so that what several have counted can be added. It decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from load.measurements.histogram import Histogram, Timings


class Ledger(Protocol):
    """What requests must have left behind in the target, kept so that several processes' parts can be added."""

    def merge(self, other: Any) -> None: ...

    def to_dict(self) -> dict[str, Any]:
        """For a message between processes."""
        ...


@dataclass
class Tally:
    """One leg as one process, or all of them, saw it.

    lag: started - intended, of the generator itself. in_time: answered well before the leg ended (and a grace).
    cpu: the CPU time of the busiest process while it sent, as a share of one core; cpu_s: of all processes, until the
    last answer. busiest: connections of one process.
    """

    timings: Timings
    planned: int = 0
    sent: int = 0
    answered: int = 0  # with 200
    unanswered: int = 0  # without any answer, or with 5xx: it is not known what the server has done
    in_time: int = 0
    lag: Histogram = field(default_factory=Histogram)
    others: Counter[str] = field(default_factory=Counter)  # what was answered instead of 200, or went wrong
    ledger: Ledger | None = None
    cpu: float = 0.0
    cpu_s: float = 0.0
    busiest: int = 0

    @property
    def cpu_us(self) -> float | None:
        """Microseconds of CPU time of a request; None: nothing was sent."""
        return self.cpu_s / self.sent * 1e6 if self.sent else None

    @property
    def failed(self) -> int:
        return self.others.total()

    def merge(self, other: Tally) -> None:
        self.timings.merge(other.timings)
        self.lag.merge(other.lag)
        self.planned += other.planned
        self.sent += other.sent
        self.answered += other.answered
        self.unanswered += other.unanswered
        self.in_time += other.in_time
        self.others.update(other.others)
        if self.ledger is not None:
            self.ledger.merge(other.ledger)
        self.cpu = max(self.cpu, other.cpu)
        self.cpu_s += other.cpu_s
        self.busiest = max(self.busiest, other.busiest)

    def to_dict(self) -> dict[str, Any]:
        """For a message between processes."""
        names = ("planned", "sent", "answered", "unanswered", "in_time", "cpu", "cpu_s", "busiest")
        counts = {name: getattr(self, name) for name in names}
        return counts | {
            "timings": self.timings.to_dict(),
            "lag": self.lag.to_dict(),
            "others": dict(self.others),
            "ledger": None if self.ledger is None else self.ledger.to_dict(),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], read_ledger: Callable[[Mapping[str, Any]], Ledger]) -> Self:
        fields = dict(document)
        timings, lag = Timings.from_dict(fields.pop("timings")), Histogram.from_dict(fields.pop("lag"))
        kept = fields.pop("ledger")
        ledger = None if kept is None else read_ledger(kept)
        return cls(timings, lag=lag, others=Counter(fields.pop("others")), ledger=ledger, **fields)
