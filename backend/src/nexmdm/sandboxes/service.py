"""What the broker declares to the application."""

from __future__ import annotations

from typing import Final

from nexmdm.http.cross_origin import CrossOrigin
from nexmdm.http.service import Service
from nexmdm.kernel.log import declared as declared_events
from nexmdm.kernel.problems import declared as declared_problems
from nexmdm.kernel.rights import Rights
from nexmdm.kernel.settings import Settings, narrow
from nexmdm.kernel.standing_queue import StandingQueue
from nexmdm.sandboxes import (
    allocate,
    allocations,
    events,
    gauges,
    metrics,
    pool,
    pool_jobs,
    problems,
    retention,
    schedule,
    track_limit,
    usage,
)
from nexmdm.sandboxes.settings import SandboxSettings
from nexmdm.sandboxes.state import lifespan

_RIGHTS: Final = Rights(
    {
        "allocations": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "breaker": ("SELECT", "UPDATE"),
        "job_runs": ("SELECT", "INSERT", "UPDATE"),
        "sandboxes": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "sync_runs": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "waiters": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    },
    functions=(
        "nexmdm_allocate_sandbox(text, text, text, text, integer, integer, integer, double precision, integer)",
    ),
)

_CROSS_ORIGIN: Final = CrossOrigin(
    origins=lambda settings: narrow(settings, SandboxSettings).cors_origins,
    methods=("GET", "POST"),
    request_headers=(
        "Authorization",
        "Content-Type",
        "X-Track-ID",
        "X-Instruqt-Sandbox-ID",
        "X-Instruqt-Track-ID",
        "Idempotency-Key",
        "Prefer",
    ),
    exposed_headers=(
        "X-Request-ID",
        "X-RateLimit-Limit",
        "X-RateLimit-Remaining",
        "Retry-After",
        "Idempotent-Replay",
    ),
    max_age_s=3600,
)
_ALLOCATIONS: Final = "allocations"


def _waiting_for_sandboxes(settings: Settings) -> StandingQueue:
    return StandingQueue(_ALLOCATIONS, narrow(settings, SandboxSettings).allocation_connections)


SERVICE: Final = Service(
    name="sandboxes",
    settings=SandboxSettings,
    routers=(allocate.router, allocations.router, pool.router, pool_jobs.router, usage.router),
    problems=declared_problems(problems),
    events=declared_events(events),
    metric_labels=metrics.LABELS,
    rights=_RIGHTS,
    rate_limits=(track_limit.RULE,),
    queues=(_ALLOCATIONS,),
    retention=retention.POLICIES,
    jobs={**schedule.JOBS, "sandboxes_pool": gauges.keep_measuring},
    lifespan=lifespan,
    direct={allocate.PATH: allocate.allocate},
    standing={allocate.PATH: _waiting_for_sandboxes},
    cross_origin=_CROSS_ORIGIN,
)
