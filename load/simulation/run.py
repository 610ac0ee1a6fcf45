"""A run of simulated devices: what each was given and answered, and every sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.devices.device import Device
from load.measurements.generator_cost import GeneratorCost
from load.measurements.histogram import Timings
from load.measurements.run import Run
from load.measurements.samples import Sample, Samples
from load.simulation.schedule import Heartbeat
from load.workloads.heartbeat_rows import HeartbeatRows, bucket_of
from load.workloads.simulation import Simulated

HEARTBEAT, DUPLICATE, COMMAND, RESULT = "heartbeat", "duplicate", "command", "result"
_POINTS = 40  # of a course over time: few enough that a point of two minutes has its heartbeats


@dataclass
class SimulatedDevice:
    """One device and one command: what it was given, what it was answered.

    client: sends what it sends; command_id: the request_id of its dispatch.
    """

    alias: str
    enrolment_token: str
    repeats_result: bool = False
    client: Device | None = None
    apk_fetched: bool = False
    registered: bool = False
    heartbeats: list[Heartbeat] = field(default_factory=list)
    command_id: str | None = None
    results: list[dict[str, Any]] = field(default_factory=list)

    @property
    def device_id(self) -> str:
        """Empty for a device that never registered."""
        return (self.client.device_id if self.client else None) or ""


@dataclass
class SimulationRun(Run):
    """buckets_known: the server's clock is known well enough to keep clear of bucket edges."""

    scenario: Simulated
    devices: list[SimulatedDevice] = field(default_factory=list)
    samples: Samples = field(default_factory=Samples)
    package_name: str = ""
    apk: bytes = b""
    buckets_known: bool = True
    stream_started_at: float | None = None
    generator_cost: GeneratorCost | None = None

    @property
    def planned(self) -> list[Heartbeat]:
        return [heartbeat for device in self.devices for heartbeat in device.heartbeats]

    @property
    def heartbeats(self) -> list[Sample]:
        """All that were sent."""
        return self.samples.of(HEARTBEAT, DUPLICATE)

    @property
    def commanded(self) -> list[SimulatedDevice]:
        return [device for device in self.devices if device.command_id is not None]

    @property
    def completed(self) -> int:
        return sum(bool(device.results) for device in self.devices)

    def timings(self) -> Timings:
        end = self.phases[-1][0] if self.phases else self.started_at
        interval_s = max(1.0, round((end - self.started_at) / _POINTS))
        timeout_s = self.scenario.request_timeout_s
        return Timings.of_samples(self.samples.all, self.started_at, timeout_s, interval_s)

    def rows(self) -> HeartbeatRows:
        """Which rows the heartbeats must have made, as far as the server's clock is known."""
        rows, bucket_s, uncertainty_s = HeartbeatRows(), self.scenario.bucket_s, self.clock.uncertainty_s
        numbers = {device.alias: number for number, device in enumerate(self.devices)}
        for sample in self.heartbeats:
            first = bucket_of(sample.sent - uncertainty_s, bucket_s)
            last = bucket_of(sample.answered + uncertainty_s, bucket_s)
            rows.record(numbers[sample.device], first, last, sample.status)
        return rows
