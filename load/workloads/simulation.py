"""The scenarios' figures as data: how many, how often, how long, and which limits hold. It runs nothing.

Sources: seed 000 B (20 devices, two minutes, 10-15 s, answers after 1-3 s, latency and error limits), seed 001 (100
devices that post every 120 s, FCM dispatch) and performance.md (a command to 1,000 devices). How a percentile is judged
when a short run cannot have its 10 / (1 - p) samples: see harness/verdict/thresholds.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from harness.verdict.thresholds import Limit, Status, minimum_samples

# Fewer beats than this say nothing, whatever the profile: at 20, p95 has one sample beyond it.
LEAST_SAMPLES = 20


@dataclass(frozen=True)
class Scenario:
    """What every scenario has. Durations end in _s; a pair is a range from which each value is drawn evenly."""

    name: str
    devices: int
    duration_s: float = 0.0  # 0: as long as it takes
    compression: float = 1.0  # how many times as fast and as short as the scenario is meant to be
    bucket_s: float = 10.0
    duplicate_share: float = 0.0  # of the beats, an intended second one in the same bucket follows
    answer_after_s: tuple[float, float] = (1.0, 3.0)
    at_once: int = 20  # devices that set up side by side
    request_timeout_s: float = 10.0
    message_within_s: float = 20.0
    lag_ms: float = 50.0  # p99 of sent - intended: a third of the limit that the generator helps to judge
    strangers_share: float = 0.25  # of the CPUs: from here on, a latency beyond its limit blames nobody
    settle_s: float = 10.0

    @property
    def plan(self) -> str:
        """What is done, in a few words."""
        raise NotImplementedError

    @property
    def is_quick_look(self) -> bool:
        """Shorter or smaller than the scenario is meant to be; compressed is neither."""
        whole = SCENARIOS[self.name]
        return self.duration_s * self.compression < whole.duration_s or self.devices < whole.devices


@dataclass(frozen=True)
class Fanout(Scenario):
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
class Profile(Scenario):
    """Devices that enrol, send heartbeats, and get a command each."""

    name: str = "sim20"
    devices: int = 20
    duration_s: float = 120.0
    interval_s: tuple[float, float] = (10.0, 15.0)
    edge_clear_s: float = 0.4  # send times keep this far from bucket edges, so that a beat's bucket is beyond doubt
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
            raise ValueError("interval: shorter than a bucket, which makes every beat a duplicate")

    @property
    def reach_s(self) -> float:
        """How far jitter moves a beat from its deadline: neighbours then stay within `interval_s` of one another."""
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
        # Jitter shrinks too, but not below what keeps every beat clear of bucket edges, and a little for the clock.
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
PROFILES = {profile.name: profile for profile in (SIM20, FLEET100)}
FANOUT = Fanout()
SCENARIOS: dict[str, Scenario] = {**PROFILES, FANOUT.name: FANOUT}


@dataclass(frozen=True)
class Limits:
    """What the simulation has to keep."""

    heartbeat_p95: Limit
    heartbeat_p99: Limit
    heartbeat_errors: Limit
    dispatch_write: Limit
    fcm_dispatch: Limit
    metrics_scrape: Limit
    registered: Limit
    sent: Limit
    completed: Limit
    achieved: Limit
    lag: Limit


def least(q: float, planned: int) -> int:
    """How few samples of a percentile are judged. It follows from the plan, never from what was seen."""
    return max(LEAST_SAMPLES, min(minimum_samples(q), int(planned * 0.98)))


def lag_limit(scenario: Scenario) -> Limit:
    """The guard that every generator is under."""
    source, breach = "generator: sent - intended", Status.INCONCLUSIVE
    return Limit("generator lag p99", "ms", "<", scenario.lag_ms, LEAST_SAMPLES, breach=breach, source=source)


def limits(profile: Scenario, planned_beats: int) -> Limits:
    """The limits for a run of this size."""

    def every(name: str, source: str) -> Limit:
        return Limit(name, "devices", "==", profile.devices, source=source)

    client = "client: answered - intended"
    guard = Status.INCONCLUSIVE
    return Limits(
        heartbeat_p95=Limit("heartbeat p95", "ms", "<", 150, least(0.95, planned_beats), 0.95, source=client),
        heartbeat_p99=Limit("heartbeat p99", "ms", "<", 300, least(0.99, planned_beats), 0.99, source=client),
        heartbeat_errors=Limit(
            "heartbeat error rate", "", "<", 0.01, least(0.95, planned_beats), source="client: not 200, or no answer"
        ),
        dispatch_write=Limit("dispatch write p95", "ms", "<", 50, min(profile.devices, LEAST_SAMPLES), 0.95),
        fcm_dispatch=Limit("FCM dispatch, slowest", "ms", "<", 200, 1, 1.0, source="dispatch: sent_at - created_at"),
        metrics_scrape=Limit("/metrics p95", "ms", "<", 50, None, 0.95, source=client),
        registered=every("devices registered", "answers of /v1/register"),
        sent=every("commands sent", "/admin/dispatches: sent_at"),
        completed=every("commands completed", "/admin/dispatches: status"),
        achieved=Limit("beats sent of plan", "", ">=", 0.98, breach=guard, source="generator: sent within 1 s of plan"),
        lag=lag_limit(profile),
    )
