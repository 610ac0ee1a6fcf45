"""What each student of the demonstration is to do, decided before the first one comes."""

from __future__ import annotations

import random
from dataclasses import dataclass

from load.workloads.students import Demonstration


@dataclass(frozen=True)
class Visit:
    """One student. impatient: asks twice at once. returns: asks for another sandbox after the first. Times in s."""

    name: str
    lab: str
    arrives_s: float
    works_s: float
    impatient: bool
    vanishes: bool
    returns: bool


def visits(scenario: Demonstration, rng: random.Random) -> list[Visit]:
    """In order of arrival. Of ten students two vanish, two are impatient, and one returns."""
    arrivals = sorted(rng.uniform(0.0, scenario.arrivals_end * scenario.duration_s) for _ in range(scenario.devices))
    low, high = scenario.works
    return [
        Visit(
            name=f"s{number + 1:02d}",
            lab=scenario.labs[number % len(scenario.labs)],
            arrives_s=at,
            works_s=rng.uniform(low, high) * scenario.duration_s,
            impatient=number // len(scenario.labs) % 5 == 1,
            vanishes=number // len(scenario.labs) % 5 == 3,
            returns=number % 10 == 2,
        )
        for number, at in enumerate(arrivals)
    ]
