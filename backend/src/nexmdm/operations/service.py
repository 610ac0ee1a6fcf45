"""What operations declare to the application. They cannot be switched off."""

from __future__ import annotations

from typing import Final

from nexmdm.http.service import Service
from nexmdm.kernel.log import declared as declared_events
from nexmdm.kernel.problems import declared as declared_problems
from nexmdm.operations import events, health, openapi, problems
from nexmdm.operations.state import lifespan

SERVICE: Final = Service(
    name="operations",
    routers=(health.router, openapi.router),
    problems=declared_problems(problems),
    events=declared_events(events),
    lifespan=lifespan,
)
