"""The run's own `acceptance.*` events (seed 000), in the format of the backend's log. It holds no samples.

They are a file of their own: operations and the test of them stay apart, and a sort by `ts` brings them together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from harness.verdict.artifacts import timestamp
from harness.verdict.thresholds import Check, Judgement, Status
from load.measurements.run import Run

_LEVELS = {Status.PASS: "INFO", Status.DISABLED: "INFO", Status.INCONCLUSIVE: "WARNING", Status.FAIL: "ERROR"}


def events(run: Run, judged: Iterable[Judgement], checks: Iterable[Check], verdict: str, ended_at: float) -> str:
    """One JSON object a line: phases as they began, then every limit and check, then the verdict."""

    def line(at: float, event: str, status: Status = Status.PASS, **fields: Any) -> dict[str, Any]:
        head = {"ts": timestamp(at), "level": _LEVELS[status], "event": f"acceptance.{event}"}
        return {**head, "request_id": run.tag, "route": "acceptance", "suite": run.scenario.name, **fields}

    lines = [line(at, "phase", phase=phase) for at, phase in run.phases]
    for one in judged:
        shown = None if one.observed is None else round(one.observed, 4)
        limit = {"limit": one.limit.name, "outcome": one.status.value, "observed": shown, "n": one.n}
        lines.append(line(ended_at, "limit", one.status, **limit))
    lines += [line(ended_at, "check", check.status, check=check.id, outcome=check.status.value) for check in checks]
    lines.append(line(ended_at, "verdict", outcome=verdict))
    return "".join(json.dumps(one, allow_nan=False) + "\n" for one in lines)
