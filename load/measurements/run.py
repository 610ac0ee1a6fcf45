"""What the simulation knows about each of its devices, and about itself. It does nothing with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.devices.device import Device
from harness.verdict.thresholds import Check, Status
from load.measurements.samples import Recorder
from load.workloads.schedule import Beat
from load.workloads.simulation import Scenario

OVER = "over"
NOT_PREPARED = Check("preparation", "what the devices need is ready", Status.INCONCLUSIVE, "not finished")


@dataclass
class Seat:
    """One device and one command: what it was given, what it was answered. `command_id`: its dispatch's request_id."""

    alias: str
    enrolment_token: str
    repeats_result: bool = False
    device: Device | None = None
    apk_fetched: bool = False
    registered: bool = False
    beats: list[Beat] = field(default_factory=list)
    command_id: str | None = None
    results: list[dict[str, Any]] = field(default_factory=list)

    @property
    def device_id(self) -> str:
        """Empty for a device that never registered."""
        return (self.device.device_id if self.device else None) or ""


@dataclass
class Run:
    """One simulation. `id` makes its names unique, so that it can be repeated against the same deployment.

    exclusive: nobody else uses the deployment, so its counters may be compared exactly.
    doubts: why the run proves nothing, whatever it measured.
    """

    profile: Scenario
    id: str
    seed: int
    capabilities: frozenset[str]
    started_at: float
    target: str = ""
    phases: list[tuple[float, str]] = field(default_factory=list)
    seats: list[Seat] = field(default_factory=list)
    recorder: Recorder = field(default_factory=Recorder)
    preparation: Check = NOT_PREPARED
    package_name: str = ""
    apk: bytes = b""
    strangers: float | None = None  # share of the CPUs that programs outside the run took; None: unknown
    clock_source: str = "unknown"
    clock_uncertainty_s: float = 0.0
    buckets_known: bool = True  # the server's clock is known well enough to keep clear of bucket edges
    stream_started_at: float | None = None
    refusals: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    interrupted: bool = False
    secrets: list[str] = field(default_factory=list)

    @property
    def tag(self) -> str:
        """Begins the X-Request-ID of every request of the admin."""
        return f"{self.profile.name}-{self.id}"

    @property
    def exclusive(self) -> bool:
        return "process" in self.capabilities

    @property
    def planned(self) -> list[Beat]:
        return [beat for seat in self.seats for beat in seat.beats]

    @property
    def commanded(self) -> list[Seat]:
        return [seat for seat in self.seats if seat.command_id is not None]

    @property
    def completed(self) -> int:
        return sum(bool(seat.results) for seat in self.seats)

    @property
    def phase(self) -> str:
        return self.phases[-1][1] if self.phases else "starting"

    def enter(self, phase: str, at: float) -> None:
        self.phases.append((at, phase))

    def refused(self, what: str) -> None:
        """Keep what the product refused or lost; the limits and checks say what that means."""
        self.refusals.append(what)
