"""Operations: metrics, liveness, readiness. It measures nothing itself and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel

from nexmdm import __version__
from nexmdm.http.admin_auth import ADMIN_ONLY, require_admin
from nexmdm.http.problems import OF_AN_ADMIN
from nexmdm.http.runtime import Session, runtime
from nexmdm.kernel import metrics
from nexmdm.kernel.events import DEPENDENCY_AWAY
from nexmdm.kernel.log import emit
from nexmdm.kernel.problems import DEPENDENCY_UNAVAILABLE, Problem, answers
from nexmdm.kernel.settings import Settings
from nexmdm.operations.events import METRICS_SCRAPE
from nexmdm.operations.problems import MIGRATIONS_PENDING
from nexmdm.operations.state import operations
from nexmdm.schema import grants, revisions

router = APIRouter(tags=["operations"])


class Health(BaseModel):
    """The process answers; `database` says whether it was asked too."""

    status: Literal["ok"] = "ok"
    database: Literal["ok", "not_checked"]
    version: str = __version__


class Readiness(BaseModel):
    """The process can serve: database there, schema at head or (in a rolling upgrade) ahead, all rights."""

    status: Literal["ready"] = "ready"
    database: Literal["ok"] = "ok"
    migrations: Literal["head", "ahead"]


@router.get(
    "/metrics",
    operation_id="getMetrics",
    response_class=Response,
    dependencies=ADMIN_ONLY,
    responses=answers(*OF_AN_ADMIN),
)
async def scrape() -> Response:
    """All metrics of all workers, as Prometheus text."""
    started = perf_counter()
    page = await asyncio.to_thread(metrics.page)  # some thousand series
    emit(METRICS_SCRAPE, duration_ms=round((perf_counter() - started) * 1000, 3))
    return Response(page, media_type=CONTENT_TYPE_PLAIN_0_0_4)


class HealthAtOnce:
    """The probe of the fast path: liveness while a service shows that the database answers."""

    path = "/healthz"

    def __init__(self, settings: Settings, database_answers: Callable[[], bool]) -> None:
        self._database_answers = database_answers
        self._asked = settings.healthz_database and not settings.healthz_admin
        self._body = Health(database="ok").model_dump_json().encode()

    def body(self) -> bytes | None:
        """The body of the 200; None: the route has to ask."""
        return self._body if self._asked and self._database_answers() else None


@router.get("/healthz", operation_id="getHealth", responses=answers(*OF_AN_ADMIN))
async def health(request: Request) -> Health:
    """Liveness, with a database ping where the settings say so."""
    settings = runtime(request).settings
    if settings.healthz_admin:
        await require_admin(request)
    if not settings.healthz_database:
        return Health(database="not_checked")
    await operations(request).pulse.take()
    return Health(database="ok")


@router.get("/readyz", operation_id="getReadiness", responses=answers(MIGRATIONS_PENDING, DEPENDENCY_UNAVAILABLE))
async def readiness(request: Request, session: Session) -> Readiness:
    """Readiness to serve."""
    revision = await revisions.current(session)
    if revisions.pending(revision):
        raise Problem(MIGRATIONS_PENDING, "Run `nexmdm migrate`.")
    if lacking := await grants.missing(session, runtime(request).rights):
        error = f"no right to {', '.join(lacking[:9])}"
        emit(DEPENDENCY_AWAY, "error", dependency="database", error=error)
        raise Problem(DEPENDENCY_UNAVAILABLE, "The database role lacks rights: run `nexmdm grant`.")
    return Readiness(migrations="head" if revision == revisions.head() else "ahead")
