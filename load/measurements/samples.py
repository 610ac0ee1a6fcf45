"""Raw samples of a run and the arithmetic over them. It keeps every sample: nothing is rounded or binned.

Latency is answered - intended: a sample that was sent late, because the one before it was slow, shows all of its delay.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.verdict.thresholds import percentile
from load.workloads.schedule import bucket_of

HEARTBEAT, DUPLICATE, COMMAND, RESULT = "heartbeat", "duplicate", "command", "result"


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


@dataclass(frozen=True)
class Accounting:
    """What the beats of a run must have left behind.

    `rows`: (device, bucket) pairs that must exist. `unsure`: pairs that may or may not exist, because a beat had no
    answer, or was under way while one bucket ended and the next began. `doubtful`: how many such beats there were.
    """

    rows: frozenset[tuple[str, int]]
    unsure: frozenset[tuple[str, int]]
    doubtful: int


@dataclass
class Recorder:
    samples: list[Sample] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        self.samples.append(sample)

    def of(self, *kinds: str) -> list[Sample]:
        return [sample for sample in self.samples if sample.kind in kinds]

    @property
    def beats(self) -> list[Sample]:
        return self.of(HEARTBEAT, DUPLICATE)

    def latencies(self, timeout_s: float, *kinds: str) -> list[float]:
        """Milliseconds each. One without a good answer counts as the time-out: an error is never a quick answer."""
        return [s.latency_ms if s.ok else max(s.latency_ms, timeout_s * 1000) for s in self.of(*kinds)]

    def lag_p99_ms(self, *kinds: str) -> float | None:
        samples = self.of(*kinds)
        return percentile([sample.lag_ms for sample in samples], 0.99) if samples else None

    def account(self, bucket_s: float, uncertainty_s: float = 0.0) -> Accounting:
        """Add up which rows the beats must have made, given that the server's clock is known to +-`uncertainty_s`."""
        sure: set[tuple[str, int]] = set()
        unsure: set[tuple[str, int]] = set()
        doubtful = 0
        for beat in self.beats:
            first = bucket_of(beat.sent - uncertainty_s, bucket_s)
            last = bucket_of(beat.answered + uncertainty_s, bucket_s)
            pairs = {(beat.device, number) for number in range(first, last + 1)}
            if beat.ok and len(pairs) == 1:
                sure |= pairs
            elif beat.ok or beat.status == 0 or beat.status >= 500:
                unsure |= pairs  # a refusal (4xx) stores nothing
                doubtful += 1
        return Accounting(frozenset(sure), frozenset(unsure - sure), doubtful)


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
