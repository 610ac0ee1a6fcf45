"""What demonstrations have in common as data."""

from __future__ import annotations

from dataclasses import dataclass

from load.measurements.run import Scenario


@dataclass(frozen=True)
class Shown(Scenario):
    """settle_s: for which what the users have left may go on. broken: what is wrong with the backend, where that is
    known before."""

    settle_s: float = 30.0
    broken: str = ""

    def __post_init__(self) -> None:
        if not 20 <= self.duration_s <= 3600:
            raise ValueError("duration: 20 s to 1 h")

    @property
    def warning(self) -> list[str]:
        """What a reader has to know first."""
        return [f"The backend of this run is broken: {self.broken}."] if self.broken else []
