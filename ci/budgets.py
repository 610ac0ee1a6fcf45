"""How long a plain run of a suite may take, and what the last one took: artifacts/SUITE/budget.json."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BUDGETS_S: Final = {"harness": 120, "backend": 85, "contract": 110, "acceptance": 360}
"""On two quiet cores, without the making of environments. Who adds a test to a suite keeps its budget."""
MARGIN: Final = 2.0
"""CI fails beyond a budget times this: its machines differ by as much. Over the budget itself is said everywhere."""
FILE: Final = "budget.json"


@dataclass(frozen=True)
class Took:
    """The wall time of one plain run of a suite with a budget."""

    suite: str
    wall_s: float

    @property
    def budget_s(self) -> int:
        return BUDGETS_S[self.suite]

    @property
    def over(self) -> bool:
        return self.wall_s > self.budget_s

    @property
    def far_over(self) -> bool:
        return self.wall_s > self.budget_s * MARGIN

    def __str__(self) -> str:
        word = "OVER BUDGET" if self.over else "within budget"
        return f"{self.suite}: {word}: {self.wall_s:.0f} s of {self.budget_s} s"


class OverBudgetError(Exception):
    """A run took longer than its suite may. Its text is one line."""


@contextlib.contextmanager
def within(suite: str, artifacts: Path, *, fail: bool, say: Callable[[str], object]) -> Iterator[None]:
    """Time a plain run of the suite, and say and leave what it took. OverBudgetError: far over, and fail is true.

    A run that fails has no time. Nor has a suite without a budget.
    """
    file = artifacts / suite / FILE
    file.unlink(missing_ok=True)
    begun = time.monotonic()
    yield
    if suite not in BUDGETS_S:
        return
    took = Took(suite, time.monotonic() - begun)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"wall_s": round(took.wall_s, 1), "budget_s": took.budget_s}) + "\n")
    if took.far_over and fail:
        raise OverBudgetError(str(took))
    say(str(took))


def read(artifacts: Path) -> list[Took]:
    """Of the suites that have run, in the order of the budgets."""
    found = ((suite, artifacts / suite / FILE) for suite in BUDGETS_S)
    return [Took(suite, json.loads(path.read_text())["wall_s"]) for suite, path in found if path.exists()]
