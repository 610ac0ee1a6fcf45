"""What happened to one of many, over time, as a row of a page: spans of a state, and moments."""

from __future__ import annotations

from typing import Any


class Lane:
    """told: the spans and the moments, in milliseconds since the start of the run."""

    def __init__(self, started_at: float) -> None:
        self._started_at = started_at
        self.since: float | None = None
        self.state = ""
        self.told: dict[str, list[dict[str, Any]]] = {"spans": [], "moments": []}

    def enter(self, state: str, at: float) -> None:
        """Begin a state; an empty one only ends the one before."""
        if self.state and self.since is not None:
            span = {"state": self.state, "from_ms": self._ms(self.since), "to_ms": self._ms(max(at, self.since))}
            self.told["spans"].append(span)
        self.state, self.since = state, at

    def moment(self, event: str, at: float, status: int | None = None) -> None:
        """What happened at this time."""
        more = {} if status is None else {"status": status}
        self.told["moments"].append({"event": event, "t_ms": self._ms(at), **more})

    def _ms(self, at: float) -> float:
        return round((at - self._started_at) * 1000, 1)
