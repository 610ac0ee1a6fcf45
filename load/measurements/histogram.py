"""How long answers took, kept so that it can be merged: a histogram per kind of request and interval of time.

A histogram counts microseconds in the cells of an HDR histogram of three significant digits and names a cell by its
highest value: what it tells is never less than the truth, and at most 1/1024 more. The cells are kept sparsely, in a
dict: an interval of a second has a few hundred of the 17,000, and adding is exact. It judges nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from harness.verdict.artifacts import timestamp, write_json
from load.measurements.samples import Sample

QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
_SIGNIFICANT_BITS = 11  # 2,048 steps a cell: three significant digits
_BINS_PER_DECADE = 20
_SECOND_US = 1_000_000


def cell_of(us: int) -> int:
    """The highest number of microseconds in the same cell."""
    shift = us.bit_length() - _SIGNIFICANT_BITS
    return us if shift <= 0 else ((us >> shift) + 1 << shift) - 1


@dataclass
class Histogram:
    """Times, in cells by microseconds, and how many of them were not good answers."""

    cells: Counter[float] = field(default_factory=Counter)
    errors: int = 0

    @property
    def n(self) -> int:
        return self.cells.total()

    def record(self, time_s: float) -> None:
        """Count one time; a negative one (a clock that was set) counts as none."""
        self.cells[cell_of(max(0, math.ceil(time_s * _SECOND_US)))] += 1

    def merge(self, other: Histogram) -> None:
        self.cells.update(other.cells)
        self.errors += other.errors

    def percentile_ms(self, q: float) -> float | None:
        """Nearest rank, as harness.verdict.thresholds.percentile; None: there are no samples."""
        rank = math.ceil(Fraction(str(q)) * self.n)
        for cell, count in sorted(self.cells.items()):
            rank -= count
            if rank <= 0:
                return cell / 1000
        return None

    def share_within(self, time_s: float) -> float:
        """The part of all times that are surely below this one, 0 to 1."""
        return sum(n for cell, n in self.cells.items() if cell < time_s * _SECOND_US) / max(1, self.n)

    def to_dict(self) -> dict[str, Any]:
        return {"cells": sorted(self.cells.items()), "errors": self.errors}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        return cls(Counter(dict(document["cells"])), document["errors"])


class Timings:
    """The latencies of a run. Times are seconds since its beginning; an interval is named by its number."""

    def __init__(self, interval_s: float, timeout_s: float) -> None:
        self.interval_s = interval_s
        self.timeout_s = timeout_s
        self.course: dict[str, dict[int, Histogram]] = {}

    def record(self, kind: str, intended_s: float, answered_s: float, *, ok: bool) -> None:
        """Count one request. Without a good answer it took as long as the time-out, if not longer."""
        part = self._part(kind, intended_s)
        took_s = answered_s - intended_s
        part.record(took_s if ok else max(took_s, self.timeout_s))
        part.errors += not ok

    def _part(self, kind: str, intended_s: float) -> Histogram:
        number = math.floor(intended_s / self.interval_s)
        try:
            return self.course[kind][number]
        except KeyError:
            return self.course.setdefault(kind, {}).setdefault(number, Histogram())

    def whole(self, kind: str) -> Histogram:
        """All intervals together."""
        whole = Histogram()
        for part in self.course.get(kind, {}).values():
            whole.merge(part)
        return whole

    def all(self) -> Histogram:
        """All kinds together."""
        whole = Histogram()
        for kind in self.course:
            whole.merge(self.whole(kind))
        return whole

    def merge(self, other: Timings) -> None:
        """Add what another process, or another part of the run, has counted. ValueError: it counted otherwise."""
        if (self.interval_s, self.timeout_s) != (other.interval_s, other.timeout_s):
            raise ValueError("timings of another interval or time-out cannot be added")
        for kind, parts in other.course.items():
            for number, part in parts.items():
                self.course.setdefault(kind, {}).setdefault(number, Histogram()).merge(part)

    def to_dict(self) -> dict[str, Any]:
        """For a message between processes."""
        course = {kind: [(n, part.to_dict()) for n, part in parts.items()] for kind, parts in self.course.items()}
        return {"interval_s": self.interval_s, "timeout_s": self.timeout_s, "course": course}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        timings = cls(document["interval_s"], document["timeout_s"])
        for kind, parts in document["course"].items():
            timings.course[kind] = {number: Histogram.from_dict(part) for number, part in parts}
        return timings

    @classmethod
    def of_samples(cls, samples: Iterable[Sample], started_at: float, timeout_s: float, interval_s: float) -> Self:
        """Of raw samples: every cell is one sample's very time, so that nothing is rounded."""
        timings = cls(interval_s, timeout_s)
        for sample in samples:
            part = timings._part(sample.kind, sample.intended - started_at)
            took_ms = sample.latency_ms if sample.ok else max(sample.latency_ms, timeout_s * 1000)
            part.cells[max(0.0, took_ms * 1000)] += 1
            part.errors += not sample.ok
        return timings


@dataclass(frozen=True)
class Stage:
    """A part of a run with a load of its own. Times are seconds since the beginning of the run.

    generator_us: CPU time of the generator for one request.
    """

    offered_per_s: float
    achieved_per_s: float
    from_s: float
    to_s: float
    times: Histogram
    held: bool
    note: str = ""
    generator_us: float | None = None

    def document(self) -> dict[str, Any]:
        percentiles = {f"p{q * 100:g}_ms": _ms(self.times.percentile_ms(q)) for q in (0.5, 0.95, 0.99)}
        return {
            "offered_per_s": round(self.offered_per_s, 1),
            "achieved_per_s": round(self.achieved_per_s, 1),
            "from_s": round(self.from_s, 3),
            "to_s": round(self.to_s, 3),
            "n": self.times.n,
            "errors": self.times.errors,
            **percentiles,
            "held": self.held,
            "note": self.note,
        }


def write_latency(
    directory: Path, suite: str, started_at: float, timings: Timings, stages: Sequence[Stage] = ()
) -> None:
    """latency.json. started_at: seconds since the epoch. ArtifactError: its schema would refuse it."""
    document = {
        "suite": suite,
        "started_at": timestamp(started_at),
        "interval_s": timings.interval_s,
        "timeout_ms": timings.timeout_s * 1000,
        "kinds": [_kind(kind, timings) for kind in sorted(timings.course)],
        "stages": [stage.document() for stage in stages],
    }
    write_json(directory / "latency.json", document, "latency")


def _kind(kind: str, timings: Timings) -> dict[str, Any]:
    whole = timings.whole(kind)
    return {
        "kind": kind,
        "n": whole.n,
        "errors": whole.errors,
        "percentiles": [[q, _ms(whole.percentile_ms(q))] for q in QUANTILES],
        "histogram": _bins(whole),
        "series": [_point(n, part, timings.interval_s) for n, part in sorted(timings.course[kind].items())],
    }


def _point(number: int, part: Histogram, interval_s: float) -> dict[str, Any]:
    columns = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99, "max_ms": 1.0}
    told = {name: _ms(part.percentile_ms(q)) for name, q in columns.items()}
    return {"t_s": round(number * interval_s, 6), "n": part.n, "errors": part.errors, **told}


def _bins(whole: Histogram) -> list[list[float]]:
    """Twenty bins a decade, from one empty bin below the quickest up to the slowest."""
    counts: Counter[int] = Counter()
    for cell, count in whole.cells.items():
        counts[math.ceil(math.log10(max(cell, 1.0) / 1000) * _BINS_PER_DECADE)] += count
    if not counts:
        return []
    return [[_bound_ms(number), counts[number]] for number in range(min(counts) - 1, max(counts) + 1)]


def _bound_ms(number: int) -> float:
    return float(f"{10 ** (number / _BINS_PER_DECADE):.4g}")


def _ms(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
