"""The bar of a limit: what was observed against what was wanted. It gives no verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from report.words import OPERATORS, number, quantity

# Limits of one direction stand at the same place in every bar, so that the eye can go down the column.
_MARK: Final = {"<": 70.0, "<=": 70.0, "==": 70.0, ">=": 50.0, ">": 50.0}


@dataclass(frozen=True)
class Bar:
    """Percent of the track. `filled` is None where nothing was observed; `beyond`: the track is too short for it."""

    mark: float
    filled: float | None
    beyond: bool
    says: str


def bar(limit: Mapping[str, Any]) -> Bar:
    observed, value = limit["observed"], limit["value"]
    wanted = f"{OPERATORS[limit['op']]} {quantity(value, limit['unit'])}"
    mark = _MARK[limit["op"]]
    if observed is None:
        return Bar(mark, None, False, f"nothing observed, wanted {wanted}")
    if value <= 0:
        above = max(observed - value, 0.0)
        return Bar(0.0, 100.0 if above else 0.0, above > 0, f"{quantity(observed, limit['unit'])}, wanted {wanted}")
    filled = max(observed, 0.0) / value * mark
    times = observed / value
    share = f"{number(round(times * 100, 1))}% of the limit" if times < 10 else f"{number(times)} times the limit"
    return Bar(mark, min(filled, 100.0), filled > 100.0, share)
