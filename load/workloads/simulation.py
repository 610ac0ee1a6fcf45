"""The scenarios of simulated devices as data: how many, how often, how long.

Sources: seed 000 B (20 devices, two minutes, 10-15 s, answers after 1-3 s), seed 001 (100 devices, every 120 s) and
performance.md (a command to 1,000 devices).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from load.measurements.run import Scenario
from load.verdict.guards import LEAST_SAMPLES


@dataclass(frozen=True)
class LatencyLimits:
    """What the latencies of a simulation have to be below, ms. Sources: seed 000 B, seed 001 (FCM dispatch)."""

    heartbeat_p95: float = 150.0
    heartbeat_p99: float = 300.0
    dispatch_write_p95: float = 50.0
    fcm_dispatch: float = 200.0  # of the slowest
    metrics_p95: float = 50.0


@dataclass(frozen=True)
class Simulated(Scenario):
    """What the scenarios of simulated devices have. A pair is a range from which each value is drawn evenly."""

    compression: float = 1.0  # how many times as fast and as short as the scenario is meant to be
    bucket_s: float = 10.0
    duplicate_share: float = 0.0  # of the heartbeats, an intended second one in the same bucket follows
    answer_after_s: tuple[float, float] = (1.0, 3.0)
    at_once: int = 20  # devices that set up side by side
    message_within_s: float = 20.0
    settle_s: float = 10.0
    limits_ms: LatencyLimits = LatencyLimits()

    @property
    def whole_duration_s(self) -> float:
        return self.duration_s * self.compression


@dataclass(frozen=True)
class Fanout(Simulated):
    """One signed command to a whole fleet, some times in a row."""

    name: str = "fanout"
    devices: int = 1000
    rounds: int = 3
    message_within_s: float = 30.0

    def __post_init__(self) -> None:
        if not LEAST_SAMPLES <= self.devices <= 1000:
            raise ValueError(f"devices: {LEAST_SAMPLES} to 1000, as many as one command takes; fewer say nothing")
        if not 1 <= self.rounds <= 100:
            raise ValueError("rounds: 1 to 100")

    @property
    def plan(self) -> str:
        return f"one command to {self.devices} devices, {self.rounds} times"


@dataclass(frozen=True)
class Profile(Simulated):
    """Devices that enrol, send heartbeats, and get a command each."""

    name: str = "sim20"
    devices: int = 20
    duration_s: float = 120.0
    interval_s: tuple[float, float] = (10.0, 15.0)
    edge_clear_s: float = 0.4  # send times keep this far from bucket edges, so that the bucket is beyond doubt
    duplicate_share: float = 0.2
    duplicate_gap_s: float = 0.5
    command_after: float = 0.5  # share of the duration at which every device gets its ping
    repeat_every: int = 5  # every fifth device reports its result twice
    scrapes: int = 250  # of /metrics over the duration: more than the 200 that a p95 wants
    token_ttl_s: int = 2700

    def __post_init__(self) -> None:
        if not 1 <= self.devices <= 100:
            raise ValueError("devices: 1 to 100, as many as one batch of enrolment tokens")
        if self.duration_s < self.interval_s[1]:
            raise ValueError(
                f"duration: at least {self.interval_s[1]:g} s, the longest interval between two heartbeats"
            )
        if self.interval_s[0] < self.bucket_s:
            raise ValueError("interval: shorter than a bucket, which makes every heartbeat a duplicate")

    @property
    def reach_s(self) -> float:
        """How far jitter moves a heartbeat from its deadline: neighbours stay within `interval_s` of one another."""
        return (self.interval_s[1] - self.interval_s[0]) / 4

    @property
    def plan(self) -> str:
        low, high = self.interval_s
        compressed = f", compressed {self.compression:g} times" if self.compression != 1 else ""
        return f"{self.devices} devices, a heartbeat every {low:g}-{high:g} s for {self.duration_s:g} s{compressed}"

    def compressed(self, factor: float) -> Self:
        """The same heartbeats, `factor` times as fast and as short. ValueError where two would meet in one bucket."""
        if factor == 1:
            return self
        if not factor > 1:  # NaN is not, either
            raise ValueError("compress: 1 or more")
        low, high = self.interval_s
        # Jitter shrinks too, but not below what keeps heartbeats clear of bucket edges, and a little for the clock.
        spread = max((high - low) / factor, 4 * (self.edge_clear_s + 0.1))
        interval = (low + high) / 2 / factor
        if interval - spread / 2 < self.bucket_s:
            most = (low + high) / 2 / (self.bucket_s + spread / 2)
            raise ValueError(
                f"compress: heartbeats {interval:.3g} s apart, {spread / 2:.2g} s more or less, would meet in the"
                f" server's buckets of {self.bucket_s:g} s and be dropped as duplicates; {self.name} can be compressed"
                f" {max(1, int(most))} times at most"
            )
        shorter = (interval - spread / 2, interval + spread / 2)
        return replace(self, interval_s=shorter, duration_s=self.duration_s / factor, compression=factor)


SIM20 = Profile()
FLEET100 = Profile(name="fleet100", devices=100, duration_s=600.0, interval_s=(116.0, 124.0), duplicate_share=0.0)
FANOUT = Fanout()
