"""Which rows heartbeats must leave behind, as far as it is known who sent what when."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

_BUCKET_BITS = 32  # of a pair: a bucket's number, then the device's


def bucket_of(at: float, bucket_s: float) -> int:
    """The number of the bucket that the server puts this instant into."""
    return math.floor(at / bucket_s)


def pair(device: int, bucket: int) -> int:
    """A device and a bucket as one number: a million of them are eight megabytes on the way to the master."""
    return device << _BUCKET_BITS | bucket


@dataclass
class HeartbeatRows:
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

    def merge(self, other: HeartbeatRows) -> None:
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

    def to_dict(self) -> dict[str, Any]:
        """For a message between processes."""
        return {"sure": array("Q", sorted(self.sure)).tobytes(), "spans": self.spans}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        sure = array("Q")
        sure.frombytes(document["sure"])
        return cls(set(sure), [tuple(span) for span in document["spans"]])
