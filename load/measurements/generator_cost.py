"""What the generator itself costs: CPU time of a request, and its share of the machine that it may share."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class GeneratorCost:
    """Of so many requests. cpu_s: CPU time of all processes that send; wall_s: how long they sent."""

    requests: int
    cpu_s: float
    wall_s: float

    @property
    def facts(self) -> dict[str, str | int | float | bool | None]:
        """For result.json."""
        return {
            "generator CPU per request, us": round(self.cpu_s / self.requests * 1e6, 1) if self.requests else None,
            "generator CPU, of the machine": f"{self.cpu_s / (self.wall_s * (os.cpu_count() or 1)):.1%}",
        }


class Meter:
    """Of this process, from its making on."""

    def __init__(self, requests: int) -> None:
        """requests: how many were counted already."""
        self._requests, self._cpu_s, self._at = requests, time.process_time(), time.monotonic()

    def read(self, requests: int) -> GeneratorCost:
        """requests: how many were counted until now."""
        cpu_s = time.process_time() - self._cpu_s
        return GeneratorCost(requests - self._requests, cpu_s, time.monotonic() - self._at)
