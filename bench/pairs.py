"""Paired figures of two backends, the baseline and the candidate: how they take turns, and what can be said of them.

The rule of `--within PERCENT`: the median of the ratios lies, with at least 90 % confidence, in an interval between two
of the sorted ratios (the sign test: for five pairs all of them, for eleven the third to the ninth). Where the whole
interval keeps the limit the figure passes, where all of it breaks the limit it fails; else the noise decides, which is
inconclusive, and more pairs narrow the interval. It starts nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from harness.verdict.thresholds import Judgement, Limit, Status

LEAST_PAIRS: Final = 5
_CONFIDENCE: Final = 0.9

# A measurement that stops now and then, so that another backend has its turn: what makes the machine slow for seconds
# meets both.
T = TypeVar("T")
Turns = Generator[None, None, T]


def whole(turns: Turns[T]) -> T:
    """The measurement without anybody between its turns."""
    try:
        while True:
            next(turns)
    except StopIteration as end:
        value: T = end.value
        return value


@dataclass(frozen=True)
class Figure:
    """What one measurement of a backend yields."""

    name: str
    unit: str
    higher_is_better: bool = False

    def change(self, baseline: float, candidate: float) -> str:
        """From what to what, in the figure's unit."""
        unit = self.unit if self.unit.startswith("/") else f" {self.unit}".rstrip()
        return f"{baseline:.4g} -> {candidate:.4g}{unit}"


@dataclass(frozen=True)
class Pair:
    """One figure of both backends, measured in turns. `void`: why it does not count; empty: it does."""

    baseline: float
    candidate: float
    void: str = ""

    @property
    def ratio(self) -> float:
        """candidate / baseline; NaN where there is none."""
        return self.candidate / self.baseline if self.baseline > 0 and self.candidate > 0 else math.nan


def rank(pairs: int) -> int:
    """From which of the sorted ratios the interval reaches: to the one with the same rank from above. 0: to none."""
    below, least = 0.0, 0
    for k in range(pairs // 2):
        below += math.comb(pairs, k) / 2**pairs
        if 1 - 2 * below < _CONFIDENCE:
            break
        least = k + 1
    return least


@dataclass(frozen=True)
class Paired:
    """All pairs of a figure, in the order in which they were measured."""

    figure: Figure
    pairs: Sequence[Pair]

    @property
    def ratios(self) -> list[float]:
        """Of the pairs that count."""
        return [pair.ratio for pair in self.pairs if not pair.void and not math.isnan(pair.ratio)]

    @property
    def void(self) -> str:
        """Why nothing can be said; empty: enough pairs count."""
        lost = len(self.pairs) - len(self.ratios)
        if len(self.ratios) >= LEAST_PAIRS:
            return ""
        why = next((pair.void for pair in self.pairs if pair.void), "a figure of 0 has no ratio")
        return f"{lost} of {len(self.pairs)} pairs are void ({why}); {LEAST_PAIRS} must count" if lost else "no pairs"

    def interval(self) -> tuple[float, float]:
        """In which the median lies with 90 % confidence. ValueError for fewer than five ratios."""
        ratios, least = sorted(self.ratios), rank(len(self.ratios))
        if not least:
            raise ValueError(f"{len(ratios)} ratios: {LEAST_PAIRS} are needed")
        return ratios[least - 1], ratios[-least]

    def told(self) -> str:
        """One line for people."""
        measured = [pair for pair in self.pairs if not math.isnan(pair.ratio)]
        counted = [pair for pair in measured if not pair.void] or measured
        if not counted:
            return self.void
        ratios = [pair.ratio for pair in counted]
        before = statistics.median(pair.baseline for pair in counted)
        after = statistics.median(pair.candidate for pair in counted)
        median = statistics.median(ratios)
        better = (median > 1) == self.figure.higher_is_better
        parts = [
            f"x {median:.3f} ({abs(median - 1):.1%} {'better' if better else 'worse'}), median of {len(ratios)} pairs",
            f"from {min(ratios):.3f} to {max(ratios):.3f}",
            self.figure.change(before, after),
        ]
        if not self.void:
            parts.insert(1, "90 % between {:.3f} and {:.3f}".format(*self.interval()))
        return "; ".join([*parts, *([self.void] if self.void else [])])

    def judge(self, row: str, within_percent: float) -> Judgement:
        """Whether the candidate is worse than the baseline by no more than this; the rule stands above."""
        figure, share = self.figure, within_percent / 100
        limit = Limit(
            f"{row}: {figure.name}, candidate / baseline",
            "",
            ">=" if figure.higher_is_better else "<=",
            1 - share if figure.higher_is_better else 1 + share,
            LEAST_PAIRS,
            source="median of interleaved pairs; its 90 % interval decides",
        )
        ratios = self.ratios
        median = statistics.median(ratios) if ratios else None
        if self.void:
            return Judgement(limit, median, len(ratios), Status.INCONCLUSIVE, self.void)
        low, high = self.interval()
        kept = {limit.holds(low), limit.holds(high)}
        if len(kept) == 1:
            return limit.judge_value(median, len(ratios))
        why = f"the median lies between {low:.3f} and {high:.3f}: more pairs tell"
        return Judgement(limit, median, len(ratios), Status.INCONCLUSIVE, why)
