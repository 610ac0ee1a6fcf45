"""The metrics of the broker."""

from typing import Final

from nexmdm.kernel.metrics import BUCKETS_S, Counter, Gauge, Histogram
from nexmdm.sandboxes.types import OUTCOMES, STATUSES

allocations = Counter("nexmdm_sandboxes_allocations", "Requests for a sandbox, by what became of them.", ["outcome"])
allocation_duration = Histogram(
    "nexmdm_sandboxes_allocation_seconds", "One request for a sandbox.", ["outcome"], buckets=BUCKETS_S
)
releases = Counter("nexmdm_sandboxes_releases", "Requests to release a sandbox.", ["outcome"])
expired = Counter("nexmdm_sandboxes_expired", "Allocations that ran out.")
# Of the background process; "livemax" because every other process has a 0 of its own.
pool = Gauge("nexmdm_sandboxes_pool", "Sandboxes in each state.", ["status"], multiprocess_mode="livemax")

LABELS: Final = {  # series that exist with 0 from the start
    allocations: (OUTCOMES,),
    allocation_duration: (OUTCOMES,),
    releases: (("released", "replay", "refused"),),
    pool: (STATUSES,),
}
