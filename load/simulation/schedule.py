"""When a device sends: deadlines on a grid, with jitter and intended duplicates. Pure; it never waits.

Deadlines are start + phase + k * interval + jitter, decided before the first one is sent. Nothing that the server does
can move them, so a slow answer cannot thin out the load that would have shown it (coordinated omission).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from load.workloads.heartbeat_rows import bucket_of
from load.workloads.simulation import Profile


@dataclass(frozen=True)
class Heartbeat:
    """One heartbeat to send at `at` (server time, seconds since the epoch)."""

    at: float
    duplicate: bool = False


def plan(profile: Profile, start: float, rng: random.Random, clear_s: float | None = None) -> list[Heartbeat]:
    """The heartbeats of one device within `duration_s` from `start`, in order of time.

    First heartbeats of two grid points lie within `interval_s` of one another, hence in different buckets. Every
    heartbeat keeps `clear_s` (default: the profile's) from both edges of its bucket; a duplicate shares the bucket.
    """
    low, high = profile.interval_s
    interval, reach = (low + high) / 2, profile.reach_s
    clear = profile.edge_clear_s if clear_s is None else clear_s
    if clear > reach:
        raise ValueError(f"no jitter of +-{reach:g} s keeps {clear:g} s clear of bucket edges")
    heartbeats: list[Heartbeat] = []
    deadline = start + rng.uniform(reach, interval)
    while deadline + reach < start + profile.duration_s:
        at = _clear_of_edges(deadline, reach, profile.bucket_s, clear, rng)
        heartbeats.append(Heartbeat(at))
        if rng.random() < profile.duplicate_share:
            heartbeats += _duplicate(at, profile, clear, rng)
        deadline += interval
    return heartbeats


def _clear_of_edges(deadline: float, reach: float, bucket_s: float, clear: float, rng: random.Random) -> float:
    """A random instant within `reach` of the deadline that is not within `clear` of a bucket edge."""
    edge = round(deadline / bucket_s) * bucket_s
    first, last = deadline - reach, deadline + reach
    before = max(0.0, min(last, edge - clear) - first)
    after_from = max(first, edge + clear)
    after = max(0.0, last - after_from)
    drawn = rng.uniform(0.0, before + after)
    return first + drawn if drawn < before else after_from + drawn - before


def _duplicate(at: float, profile: Profile, clear: float, rng: random.Random) -> list[Heartbeat]:
    """A second heartbeat later in the same bucket, or none where the bucket has no room left."""
    end = (bucket_of(at, profile.bucket_s) + 1) * profile.bucket_s - clear
    earliest = at + profile.duplicate_gap_s
    return [Heartbeat(rng.uniform(earliest, end), duplicate=True)] if earliest < end else []
