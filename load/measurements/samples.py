"""Raw samples of a run and the arithmetic over them: nothing is rounded or binned.

Latency is answered - intended: a sample that was sent late, because the one before it was slow, shows all of its delay.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.verdict.thresholds import percentile


@dataclass(frozen=True)
class Sample:
    """One request. Times are server time in seconds since the epoch; status 0: there was no answer."""

    kind: str
    device: str
    intended: float
    sent: float
    answered: float
    status: int
    deduplicated: bool | None = None
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.status == 200

    @property
    def latency_ms(self) -> float:
        return (self.answered - self.intended) * 1000

    @property
    def lag_ms(self) -> float:
        return (self.sent - self.intended) * 1000


@dataclass
class Samples:
    """Every sample, in the order in which they ended."""

    all: list[Sample] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        self.all.append(sample)

    def of(self, *kinds: str) -> list[Sample]:
        return [sample for sample in self.all if sample.kind in kinds]

    def latencies(self, timeout_s: float, *kinds: str) -> list[float]:
        """Milliseconds each. One without a good answer counts as the time-out: an error is never a quick answer."""
        return [s.latency_ms if s.ok else max(s.latency_ms, timeout_s * 1000) for s in self.of(*kinds)]

    def lag_p99_ms(self, *kinds: str) -> float | None:
        samples = self.of(*kinds)
        return percentile([sample.lag_ms for sample in samples], 0.99) if samples else None


def samples_csv(samples: Iterable[Sample], started_at: float) -> str:
    """One line a request, times in milliseconds since the start of the run."""

    def ms(at: float) -> str:
        return f"{(at - started_at) * 1000:.2f}"

    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("kind", "device", "intended_ms", "sent_ms", "answered_ms", "status", "deduplicated", "error"))
    for s in samples:
        deduplicated = "" if s.deduplicated is None else int(s.deduplicated)
        writer.writerow(
            (s.kind, s.device, ms(s.intended), ms(s.sent), ms(s.answered), s.status, deduplicated, s.error[:80])
        )
    return table.getvalue()
