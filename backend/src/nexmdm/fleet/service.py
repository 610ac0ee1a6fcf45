"""What the fleet declares to the application."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Final

from nexmdm.fleet import (
    action_results,
    commands,
    devices,
    dispatches,
    enrollment,
    events,
    heartbeats,
    metrics,
    problems,
    registration,
    retention,
    scripts,
)
from nexmdm.fleet.apk import builds, downloads
from nexmdm.fleet.dispatcher import Dispatcher
from nexmdm.fleet.fcm import Push
from nexmdm.fleet.settings import FleetSettings
from nexmdm.fleet.state import Fleet, lifespan
from nexmdm.http.runtime import Runtime
from nexmdm.http.service import Service
from nexmdm.kernel.database import Database
from nexmdm.kernel.events import DEPENDENCY_AWAY
from nexmdm.kernel.log import declared as declared_events
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import declared as declared_problems
from nexmdm.kernel.rights import Rights
from nexmdm.kernel.settings import Settings, narrow


async def _dispatch(db: Database, settings: Settings, stop: asyncio.Event) -> None:
    mine = narrow(settings, FleetSettings)
    if mine.service_account is None:
        emit(DEPENDENCY_AWAY, "warning", dependency="fcm", error="not configured")
        return
    async with aclosing(Push(mine)) as push:
        await Dispatcher(db, push, mine).run(stop)


def _fast_path(running: Runtime) -> heartbeats.FastHeartbeats:
    fleet = running.state(Fleet)
    return heartbeats.FastHeartbeats(fleet.tokens, fleet.writer, fleet.settings.heartbeat_interval_s)


# What hangs on a row by ON DELETE CASCADE goes with the owner's rights, and so does the number of a row.
_RIGHTS: Final = Rights(
    {
        "apk_download_events": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "apk_versions": ("SELECT", "INSERT"),
        "commands": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "device_heartbeats": ("SELECT", "INSERT"),
        "device_status": ("SELECT", "INSERT", "UPDATE"),
        "devices": ("SELECT", "INSERT", "UPDATE"),
        "dispatch_transitions": ("SELECT", "INSERT"),
        "enrollment_tokens": ("SELECT", "INSERT", "UPDATE"),
        "fcm_dispatches": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    },
    functions=("nexmdm_ensure_heartbeat_partitions(date, date)", "nexmdm_drop_heartbeat_partitions(date)"),
    owner_functions=(
        "nexmdm_ensure_heartbeat_partitions_unbounded(date, date)",
        "nexmdm_drop_heartbeat_partitions_unbounded(date)",
    ),
)

SERVICE: Final = Service(
    name="fleet",
    settings=FleetSettings,
    routers=(
        heartbeats.router,
        registration.router,
        action_results.router,
        devices.router,
        commands.router,
        dispatches.router,
        enrollment.router,
        builds.router,
        downloads.router,
        scripts.router,
    ),
    problems=declared_problems(problems),
    events=declared_events(events),
    metric_labels=metrics.LABELS,
    rights=_RIGHTS,
    rate_limits=("token_create", "apk_token", "apk_ip"),
    queues=("heartbeats", "bcrypt"),
    prepare=retention.prepare,
    retention=retention.POLICIES,
    jobs={"dispatcher": _dispatch},
    lifespan=lifespan,
    fast_path=_fast_path,
    database_answers=lambda running: running.state(Fleet).writer.is_alive(),
)
