"""All scenarios by name, and what a reader of a run must know of how it differs from the scenario of that name."""

from __future__ import annotations

from load.measurements.run import Scenario
from load.workloads.arrival_rate import (
    AGENTS,
    CAPACITY,
    EXHAUSTED,
    FLEET_SCALE,
    JOBS,
    PLATFORM_WRITES,
    PLATFORM_WRITES_ONE,
    SCHEDULER,
    SCHEDULER_CALLS,
    SCHEDULER_ONE,
    SOAK,
    STAGED,
    STEADY,
)
from load.workloads.platform import PLATFORM, PlatformShow
from load.workloads.simulation import FANOUT, FLEET100, SIM20, Simulated
from load.workloads.students import MULTI, SANDBOXES, SMOKE, STRESS, Students

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        *(SIM20, FLEET100, FANOUT, FLEET_SCALE, CAPACITY, SOAK),
        *(SANDBOXES, SMOKE, STRESS, MULTI, STEADY, STAGED, EXHAUSTED, JOBS),
        PLATFORM,
        *(PLATFORM_WRITES, PLATFORM_WRITES_ONE, SCHEDULER, SCHEDULER_ONE, SCHEDULER_CALLS, AGENTS),
    )
}
OfUsers = Simulated | Students | PlatformShow  # Locust starts a user for each of their devices, students or agents


def notes(scenario: Scenario) -> list[str]:
    """One sentence where it is smaller or shorter than it is meant to be, and one where it is compressed."""
    whole = SCENARIOS.get(scenario.name)
    if whole is None or scenario == whole:
        return []
    told = []
    if scenario.whole_duration_s < whole.duration_s or scenario.devices < whole.devices:
        told.append(f"A quick look: {scenario.name} is {whole.plan}.")
    if scenario.duration_s != scenario.whole_duration_s:
        told.append(f"This run is {scenario.plan}. It stands for {whole.plan}.")
    return told
