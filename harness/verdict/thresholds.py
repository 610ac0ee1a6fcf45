"""Limits as data, exact percentiles from raw samples, the verdict over them. It measures nothing and writes nothing.

Percentiles are nearest-rank on the samples themselves: Locust's own are rounded to two digits and cannot decide a
limit. One process holds its samples in memory; a run over several generators would put mergeable HDR histograms
behind `percentile`, and nothing else here would change.

A percentile p wants 10 / (1 - p) samples, ten of them beyond it. A limit may state a smaller `min_n`; between the two
it is judged more strictly: to pass, every sample must be within the limit; to fail, the percentile itself must break
it; what lies between is inconclusive. Too few samples can therefore cost a pass, and never make one.

A target that the product has never reached is a limit with `breach=Status.TARGET_MISSED`: a miss is reported and
changes no verdict. Once it is reached its breach becomes FAIL, so that it cannot be lost again.
"""

from __future__ import annotations

import math
import operator
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import Final, Literal

Op = Literal["<", "<=", "==", ">=", ">"]
_OPERATORS: Final = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
}


class Status(Enum):
    """What became of one judgement. The first three are verdicts of a run too.

    `DISABLED`: the run could not look; it is reported, and never a pass. `TARGET_MISSED`: see the module.
    """

    PASS = "pass"  # noqa: S105  # a verdict, not a password
    INCONCLUSIVE = "inconclusive"
    FAIL = "fail"
    DISABLED = "disabled"
    TARGET_MISSED = "target missed"


EXIT_CODES: Final = {Status.PASS: 0, Status.FAIL: 1, Status.INCONCLUSIVE: 2}
# A fault that was seen stays a fault, however poor the rest of the run; a doubt outweighs any number of passes.
_SEVERITY: Final = {Status.PASS: 0, Status.INCONCLUSIVE: 1, Status.FAIL: 2}


def _exact(q: float) -> Fraction:
    """0.95 as 95/100 and not as its nearest binary: 0.07 * 100 would otherwise round up to rank 8."""
    quantile = Fraction(str(q))
    if not 0 < quantile <= 1:
        raise ValueError(f"a quantile lies in (0, 1], not {q}")
    return quantile


def percentile(samples: Sequence[float], q: float) -> float:
    """The nearest-rank percentile: the smallest sample that at least the share `q` of all samples does not exceed.

    Raises ValueError for no samples and for NaN, which would sort anywhere.
    """
    if not samples:
        raise ValueError("no samples: a percentile of nothing is not a number")
    if any(math.isnan(sample) for sample in samples):
        raise ValueError("NaN among the samples")
    rank = math.ceil(_exact(q) * len(samples))
    return sorted(samples)[rank - 1]


def minimum_samples(q: float) -> int:
    """10 / (1 - q): 200 for p95, 1000 for p99. The maximum (q = 1) speaks of the samples at hand: one is enough."""
    quantile = _exact(q)
    return 1 if quantile == 1 else math.ceil(10 / (1 - quantile))


@dataclass(frozen=True)
class Limit:
    """One threshold. With a `quantile` it is judged on samples (1.0: the maximum), without one on a single value.

    `min_n`: below it, nothing can be said. `breach`: FAIL blames the product; INCONCLUSIVE is for limits that guard
    the run itself, such as the lag of the generator; TARGET_MISSED for a target that is not reached yet.
    """

    name: str
    unit: str
    op: Op
    value: float
    min_n: int | None = None
    quantile: float | None = None
    breach: Status = Status.FAIL
    source: str = ""

    def __post_init__(self) -> None:
        if self.quantile is not None and self.op not in ("<", "<="):
            raise ValueError(f"{self.name}: a percentile is bounded from above")
        if self.breach not in (Status.FAIL, Status.INCONCLUSIVE, Status.TARGET_MISSED):
            raise ValueError(f"{self.name}: a breach fails, is inconclusive or misses a target")
        if self.min_n is not None and self.min_n < 1:
            raise ValueError(f"{self.name}: min_n is at least 1")

    @property
    def full_n(self) -> int:
        """Samples from which the statistic itself decides."""
        return minimum_samples(self.quantile) if self.quantile is not None else 1

    @property
    def needed_n(self) -> int:
        return self.min_n if self.min_n is not None else self.full_n

    def holds(self, observed: float) -> bool:
        return bool(_OPERATORS[self.op](observed, self.value))

    def judge(self, samples: Sequence[float]) -> Judgement:
        """Judge a percentile on raw samples."""
        if self.quantile is None:
            raise ValueError(f"{self.name} is judged on a value, not on samples")
        n = len(samples)
        observed = percentile(samples, self.quantile) if samples else None
        if observed is None or n < self.needed_n:
            return Judgement(self, observed, n, Status.INCONCLUSIVE, f"{n} samples, {self.needed_n} are needed")
        if not self.holds(observed):
            return Judgement(self, observed, n, self.breach)
        if n >= self.full_n:
            return Judgement(self, observed, n, Status.PASS)
        worst = max(samples)
        if self.holds(worst):
            return Judgement(
                self, observed, n, Status.PASS, f"n < {self.full_n}: passed by the worst sample, {worst:.4g}"
            )
        note = f"n < {self.full_n} and the worst sample, {worst:.4g}, is beyond the limit"
        return Judgement(self, observed, n, Status.INCONCLUSIVE, note)

    def judge_value(self, observed: float | None, n: int) -> Judgement:
        """Judge one value, such as a count or a share, that was taken over `n` things. None: it could not be taken."""
        if self.quantile is not None:
            raise ValueError(f"{self.name} is a percentile: it is judged on samples")
        if observed is None or not math.isfinite(observed) or n < self.needed_n:
            return Judgement(self, None, n, Status.INCONCLUSIVE, f"{n} samples, {self.needed_n} are needed")
        return Judgement(self, observed, n, Status.PASS if self.holds(observed) else self.breach)

    def disabled(self, why: str) -> Judgement:
        """The run was not given what this limit looks at."""
        return Judgement(self, None, 0, Status.DISABLED, why)


@dataclass(frozen=True)
class Judgement:
    """A limit and what was observed."""

    limit: Limit
    observed: float | None
    n: int
    status: Status
    note: str = ""

    def voided(self, why: str) -> Judgement:
        """The same observation when the run itself is in doubt: neither a pass nor a failure of the product."""
        if self.status is Status.DISABLED:
            return self
        return Judgement(self.limit, self.observed, self.n, Status.INCONCLUSIVE, why)


@dataclass(frozen=True)
class Check:
    """A yes-or-no question about what the run left behind. `detail` names what was found, also when it passed."""

    id: str
    title: str
    status: Status
    detail: str = ""


@dataclass
class Verdict:
    """The sum of all judgements. It only escalates, and with nothing judged it is inconclusive."""

    _worst: Status | None = None
    _reasons: list[tuple[Status, str]] = field(default_factory=list)

    @property
    def status(self) -> Status:
        return Status.INCONCLUSIVE if self._worst is None else self._worst

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.status]

    @property
    def reasons(self) -> list[str]:
        """One sentence for everything short of a pass: failures, then doubts, then missed targets."""
        order = (Status.FAIL, Status.INCONCLUSIVE, Status.TARGET_MISSED)
        return [text for status in order for kind, text in self._reasons if kind is status]

    def add(self, status: Status, reason: str) -> None:
        """Take one judgement in. A disabled one changes nothing; a missed target was judged, and blames nobody."""
        if status is Status.DISABLED:
            return
        counted = Status.PASS if status is Status.TARGET_MISSED else status
        if self._worst is None or _SEVERITY[counted] > _SEVERITY[self._worst]:
            self._worst = counted
        if status is not Status.PASS:
            self._reasons.append((status, reason))


def judge(judgements: Iterable[Judgement], checks: Iterable[Check] = (), doubts: Iterable[str] = ()) -> Verdict:
    """The verdict over limits, checks, and `doubts`: reasons why the run as a whole proves nothing."""
    verdict = Verdict()
    for doubt in doubts:
        verdict.add(Status.INCONCLUSIVE, doubt)
    for judged in judgements:
        limit = judged.limit
        seen = "nothing" if judged.observed is None else f"{judged.observed:.4g} {limit.unit}".rstrip()
        reason = f"{limit.name}: {seen}, wanted {limit.op} {limit.value:g} {limit.unit}".rstrip()
        verdict.add(judged.status, f"{reason} ({judged.note})" if judged.note else reason)
    for check in checks:
        verdict.add(check.status, f"{check.id}: {check.title}: {check.detail}" if check.detail else check.title)
    return verdict


def exit_code(main: Callable[[], int]) -> int:
    """main's exit code; 2 with a traceback where the program itself broke: Python would end with 1, the product's."""
    try:
        return main()
    except Exception:  # noqa: BLE001  # whatever it was, nothing was proved
        traceback.print_exc()
        return EXIT_CODES[Status.INCONCLUSIVE]
