"""Load shedding: the 503 `overloaded` of a full queue, with a Retry-After of its own for each caller."""

from __future__ import annotations

import random

from nexmdm.kernel import metrics
from nexmdm.kernel.problems import OVERLOADED, RETRY_AFTER_S, Problem


def reject_overloaded(queue: str, after_s: float = RETRY_AFTER_S) -> Problem:
    """The refusal by a queue that is full, counted; Retry-After is drawn from half to one and a half of `after_s`."""
    metrics.shed.labels(queue).inc()
    spread_s = after_s * random.uniform(0.5, 1.5)  # noqa: S311 - a pause is no secret
    return Problem(OVERLOADED, headers={"Retry-After": str(max(1, round(spread_s)))})
