"""What one process has counted in one leg, so that what several have counted can be added. It decides nothing."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from load.measurements.histogram import Histogram, Timings

_BUCKET_BITS = 32  # of a pair: a bucket's number, then the device's


def pair(device: int, bucket: int) -> int:
    """A device and a bucket as one number: a million of them are eight megabytes on the way to the master."""
    return device << _BUCKET_BITS | bucket


@dataclass
class Rows:
    """Which rows heartbeats must have left behind: one per device and bucket.

    `sure`: pairs that must exist. `spans`: (device, first bucket, last bucket, whether it was answered well) of
    heartbeats that were on their way while one bucket ended and the next began, or that had no clear answer.
    """

    sure: set[int] = field(default_factory=set)
    spans: list[tuple[int, int, int, bool]] = field(default_factory=list)

    def record(self, device: int, first: int, last: int, status: int) -> None:
        """Count one heartbeat, sent in the bucket `first` and answered in `last`. status 0: there was no answer."""
        if status == 200 and first == last:
            self.sure.add(pair(device, first))
        elif status in {200, 0} or status >= 500:  # a refusal (4xx) stores nothing
            self.spans.append((device, first, last, status == 200))

    def merge(self, other: Rows) -> None:
        self.sure |= other.sure
        self.spans += other.spans

    def compare(self, found: Iterable[int]) -> tuple[list[str], str]:
        """The faults of the pairs that the table holds, one per row, and a word on what was seen."""
        held: set[int] = set()
        twice = 0
        for one in found:
            twice += one in held
            held.add(one)
        missing = self.sure - held
        allowed = {pair(device, n) for device, first, last, _ in self.spans for n in range(first, last + 1)}
        unexpected = held - self.sure - allowed
        lost = [span for span in self.spans if span[3] and not self._any(span, held)]
        faults = []
        if missing or lost:
            faults.append(f"{len(missing) + len(lost)} heartbeats were answered with 200 and have no row")
        if unexpected:
            faults.append(f"{len(unexpected)} rows that no heartbeat was sent for")
        if twice:
            faults.append(f"{twice} rows beside another of the same device and bucket")
        return faults, f"{len(held)} rows for {len(self.sure)} pairs, and {len(self.spans)} heartbeats that are unsure"

    @staticmethod
    def _any(span: tuple[int, int, int, bool], held: set[int]) -> bool:
        device, first, last, _ = span
        return any(pair(device, number) in held for number in range(first, last + 1))


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
    rows: Rows = field(default_factory=Rows)
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
        self.rows.merge(other.rows)
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
            "sure": array("Q", sorted(self.rows.sure)).tobytes(),
            "spans": self.rows.spans,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        fields = dict(document)
        sure = array("Q")
        sure.frombytes(fields.pop("sure"))
        rows = Rows(set(sure), [tuple(span) for span in fields.pop("spans")])
        timings, lag = Timings.from_dict(fields.pop("timings")), Histogram.from_dict(fields.pop("lag"))
        return cls(timings, lag=lag, others=Counter(fields.pop("others")), rows=rows, **fields)
