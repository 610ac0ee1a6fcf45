"""The metrics of the broker."""

from typing import Final

from nexmdm.kernel.metrics import BUCKETS_S, Counter, Gauge, Histogram
from nexmdm.sandboxes.types import DELETIONS, OUTCOMES, STATUSES, SYNC_CHANGES, SYNC_OUTCOMES

allocations = Counter("nexmdm_sandboxes_allocations", "Requests for a sandbox, by what became of them.", ["outcome"])
allocation_duration = Histogram(
    "nexmdm_sandboxes_allocation_seconds", "One request for a sandbox.", ["outcome"], buckets=BUCKETS_S
)
releases = Counter("nexmdm_sandboxes_releases", "Requests to release a sandbox.", ["outcome"])
expired = Counter("nexmdm_sandboxes_expired", "Allocations that ran out.")
deletions = Counter("nexmdm_sandboxes_deletions", "Calls to delete a sandbox, by what became of them.", ["outcome"])
syncs = Counter("nexmdm_sandboxes_sync", "Syncs with the provider's list, by their end.", ["outcome"])
sync_rows = Counter("nexmdm_sandboxes_sync_rows", "Sandboxes that a sync changed or could not use.", ["change"])
waiters = Gauge("nexmdm_sandboxes_waiters", "Requests that are parked for a sandbox.", multiprocess_mode="livesum")
# Of the background process; "livemax" because every other process has a 0 of its own.
pool = Gauge("nexmdm_sandboxes_pool", "Sandboxes in each state.", ["status"], multiprocess_mode="livemax")
oldest_pending_deletion = Gauge(
    "nexmdm_sandboxes_oldest_pending_deletion_seconds",
    "Age of the oldest request to delete a sandbox that waits.",
    multiprocess_mode="livemax",
)
last_good_sync = Gauge(
    "nexmdm_sandboxes_last_good_sync_seconds",
    "Time since the last sync that was applied, or since the first attempt at one.",
    multiprocess_mode="livemax",
)
still_listed = Gauge(
    "nexmdm_sandboxes_still_listed",
    "Deleted sandboxes that the provider listed at the last sync.",
    multiprocess_mode="livemax",
)
breaker_open = Gauge(
    "nexmdm_sandboxes_breaker_open",
    "1 from the opening of the provider's circuit breaker until a probe succeeds.",
    multiprocess_mode="livemax",
)

LABELS: Final = {  # series that exist with 0 from the start
    allocations: (OUTCOMES,),
    allocation_duration: (OUTCOMES,),
    releases: (("released", "replay", "refused"),),
    deletions: (DELETIONS,),
    syncs: ((*SYNC_OUTCOMES, "circuit_open"),),
    sync_rows: (SYNC_CHANGES,),
    pool: (STATUSES,),
}
