"""What the platform declares to the application."""

from __future__ import annotations

from typing import Final, get_args

from nexmdm.http.cross_origin import CrossOrigin
from nexmdm.http.service import Service
from nexmdm.kernel.log import declared as declared_events
from nexmdm.kernel.problems import declared as declared_problems
from nexmdm.kernel.rights import Rights
from nexmdm.kernel.settings import narrow
from nexmdm.platform import (
    agent_expiry,
    agent_spec,
    agent_status,
    agent_warmup,
    agents,
    bricks,
    claims,
    conflicts,
    event_log,
    event_stream,
    events,
    health,
    metrics,
    problems,
    retention,
    rpc_errors,
    rpc_routes,
    scheduler,
    streams,
    sweeper,
    sync,
    sync_loop,
    task_ends,
    task_leases,
    task_metrics,
    task_states,
    teardown,
    turns,
    upload_expiry,
    uploads,
    zone_keys,
    zones,
)
from nexmdm.platform.auth import RULE
from nexmdm.platform.background import Loop
from nexmdm.platform.rpc import RESULT
from nexmdm.platform.settings import PlatformSettings
from nexmdm.platform.state import lifespan
from nexmdm.platform.types import AGENT_STATES, BRICK_STATES, BRICKS

_ALL: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_METHODS: Final = (*(method.name for method in rpc_routes.METHODS.all), "unknown")
_OUTCOMES: Final = (
    RESULT,
    *(value.code for value in vars(rpc_errors).values() if isinstance(value, rpc_errors.RpcErrorType)),
)

_CROSS_ORIGIN: Final = CrossOrigin(
    origins=lambda settings: narrow(settings, PlatformSettings).platform_cors_origins,
    methods=("GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"),
    request_headers=(
        "Authorization",
        "Content-Type",
        "X-Nexus-Zone-ID",
        "X-Agent-Id",
        "X-HTTP-Method-Override",
        "Last-Event-ID",
        "If-Match",
        *(f"Upload-{name}" for name in ("Length", "Offset", "Defer-Length", "Metadata", "Checksum")),
        "Tus-Resumable",
    ),
    exposed_headers=(
        "X-Request-ID",
        "Location",
        "ETag",
        *(f"Upload-{name}" for name in ("Length", "Offset", "Defer-Length", "Metadata", "Expires")),
        *(f"Tus-{name}" for name in ("Version", "Resumable", "Extension", "Max-Size", "Checksum-Algorithm")),
    ),
    max_age_s=600,
)

SERVICE: Final = Service(
    name="platform",
    settings=PlatformSettings,
    routers=(
        zones.router,
        zone_keys.router,
        rpc_routes.router,
        event_log.router,
        event_stream.router,
        agents.router,
        agent_spec.router,
        agent_status.router,
        agent_warmup.router,
        uploads.router,
        scheduler.router,
        task_leases.router,
        task_metrics.router,
        sync.router,
        conflicts.router,
        bricks.router,
        health.router,
    ),
    problems=declared_problems(problems),
    events=declared_events(events),
    metric_labels={
        metrics.rpc_calls: (_METHODS, _OUTCOMES),
        metrics.rpc_duration: (_METHODS,),
        metrics.agent_transitions: (AGENT_STATES[1:],),
        metrics.agent_warmups: (("connected", "failed"),),
        metrics.agents: (AGENT_STATES,),
        metrics.bricks: (BRICKS, BRICK_STATES),
        metrics.loop_turns: (get_args(Loop),),
        metrics.sync_changes: (("pushed", "failed", "conflict"),),
        metrics.sync_resolved: (("keep_local", "keep_remote", "keep_both", "abort"),),
        metrics.tasks: (("task.submitted", "task.claimed", *task_states.EVENTS.values()),),
    },
    rights=Rights(
        tables={
            "agent_capabilities": ("SELECT", "INSERT", "DELETE"),
            "agents": _ALL,
            "brick_needs": ("SELECT",),
            "bricks": ("SELECT", "UPDATE"),
            "events": ("SELECT", "INSERT"),
            "file_parts": ("SELECT", "INSERT", "DELETE"),
            "files": _ALL,
            "mount_bases": _ALL,
            "mount_changes": _ALL,
            "mount_conflicts": _ALL,
            "mount_runs": ("SELECT", "INSERT", "UPDATE"),
            "mounts": _ALL,
            "objects": ("SELECT", "INSERT", "UPDATE"),
            "task_attempts": ("SELECT", "INSERT", "UPDATE"),
            "tasks": ("SELECT", "INSERT", "UPDATE"),
            "upload_parts": ("SELECT", "INSERT", "DELETE"),
            "uploads": _ALL,
            "zone_finalizers": ("SELECT", "INSERT"),
            "zones": ("SELECT", "INSERT", "UPDATE"),
        },
        background={
            "agents": ("SELECT", "UPDATE", "DELETE"),
            "api_keys": ("SELECT", "UPDATE (revoked_at)"),
            "bricks": ("SELECT",),
            "events": ("SELECT", "INSERT", "DELETE"),
            "files": ("SELECT", "DELETE"),
            "mount_bases": ("SELECT", "DELETE"),
            "mount_changes": ("SELECT", "DELETE"),
            "mount_conflicts": ("SELECT", "DELETE"),
            "mount_runs": ("SELECT", "DELETE"),
            "mounts": ("SELECT", "DELETE"),
            "objects": ("SELECT", "DELETE"),
            "task_attempts": ("SELECT", "UPDATE"),
            "tasks": ("SELECT", "UPDATE", "DELETE"),
            "uploads": ("SELECT", "UPDATE", "DELETE"),
            "zone_finalizers": ("SELECT", "UPDATE", "DELETE"),
            "zones": ("SELECT", "UPDATE", "DELETE"),
        },
        owner_functions=("nexmdm_guard_api_keys()", "nexmdm_take_object()", "nexmdm_let_go_of_object()"),
    ),
    rate_limits=(RULE,),
    queues=(streams.QUEUE, turns.QUEUE, claims.QUEUE),
    retention=retention.POLICIES,
    jobs={
        "agents": agent_expiry.keep_silencing,
        "bricks": bricks.keep_counting,
        "sync": sync_loop.keep_delivering,
        "sweeper": sweeper.keep_sweeping,
        "tasks": task_ends.keep_ending,
        "teardown": teardown.keep_deleting,
        "uploads": upload_expiry.keep_expiring,
    },
    lifespan=lifespan,
    direct=rpc_routes.DIRECT,
    cross_origin=_CROSS_ORIGIN,
)
