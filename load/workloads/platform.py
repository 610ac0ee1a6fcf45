"""The demonstration of the platform as data: zones, agents, tasks, and when its chapters begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from load.workloads.shown import Shown

PRIORITIES: Final = ("critical", "high", "normal", "low", "best_effort")


@dataclass(frozen=True)
class PlatformShow(Shown):
    """devices: the agents, in turns of the zones; the last zone is deleted. What ends in _at: shares of the duration.

    backlog: tasks of each priority that wait in each zone before an agent claims. tasks_per_s: of a zone, after it.
    """

    whom: ClassVar[str] = "agents"

    zones: tuple[str, ...] = ("alpha", "beta", "gamma")
    backlog: int = 2
    tasks_per_s: float = 0.55
    heartbeat_s: float = 1.0
    lease_s: float = 5.0
    works_s: tuple[float, float] = (0.1, 0.8)
    silent_at: float = 0.2
    upload_at: float = 0.25
    mounts_at: float = 0.35
    isolation_at: float = 0.45
    deletion_at: float = 0.7
    submissions_end: float = 0.75
    upload_bytes: int = 3 * 2**20 + 4711

    @property
    def plan(self) -> str:
        return f"{self.devices} agents work in {len(self.zones)} zones over {self.duration_s:g} s"


PLATFORM: Final = PlatformShow("platform", devices=12, duration_s=90.0)
