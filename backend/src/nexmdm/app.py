"""The composition root: which services there are, what they share, how their failures become answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import create_model
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Scope

from nexmdm import __version__
from nexmdm.fleet.service import SERVICE as FLEET
from nexmdm.http import metrics as http_metrics
from nexmdm.http.access_log import Telemetry
from nexmdm.http.admission import Admission
from nexmdm.http.cross_origin import CrossOriginAnswers
from nexmdm.http.failed_auth import RULE, BlockedAddresses
from nexmdm.http.framing import Framing
from nexmdm.http.head import ImpliedHead
from nexmdm.http.problems import METHOD_NOT_ALLOWED, NOT_FOUND
from nexmdm.http.routing import Shortcut
from nexmdm.http.runtime import Runtime
from nexmdm.http.service import Service
from nexmdm.jobs.metrics import job_failures
from nexmdm.kernel import metrics
from nexmdm.kernel.database import OUTAGES, Database, report_outage
from nexmdm.kernel.log import origin
from nexmdm.kernel.log_sink import SHARES
from nexmdm.kernel.problems import DEPENDENCY_UNAVAILABLE, VALIDATION_ERROR, FieldError, Problem
from nexmdm.kernel.rights import KERNEL, Rights
from nexmdm.kernel.settings import ConfigurationError, Settings
from nexmdm.operations.health import HealthAtOnce
from nexmdm.operations.service import SERVICE as OPERATIONS
from nexmdm.platform.service import SERVICE as PLATFORM
from nexmdm.sandboxes.service import SERVICE as SANDBOXES
from nexmdm.server import connections, event_loop_lag, fast_lane, listener
from nexmdm.server.connections import Connections
from nexmdm.server.metrics import LABELS as SERVER_LABELS

SERVICES: Final = (FLEET, SANDBOXES, PLATFORM, OPERATIONS)


def settings_class() -> type[Settings]:
    """The settings of the kernel and of every service in one class."""
    return create_model("AllSettings", __base__=tuple(dict.fromkeys(service.settings for service in SERVICES)))


def switched_on(settings: Settings) -> tuple[Service, ...]:
    """The services that `NEXMDM_SERVICES` names (none: all), and operations in any case.

    Raises:
        ConfigurationError: there is no service of such a name.
    """
    names = {service.name for service in SERVICES}
    if not names.issuperset(settings.services):
        raise ConfigurationError(f"NEXMDM_SERVICES: names no service; there is {', '.join(sorted(names))}")
    wanted = {OPERATIONS.name, *(settings.services or names)}
    return tuple(service for service in SERVICES if service.name in wanted)


def rights() -> Rights:
    """What the service's database role may do: the tables of services that are switched off stay."""
    parts = (KERNEL, *(service.rights for service in SERVICES))
    return Rights(
        tables={table: held for part in parts for table, held in part.tables.items()},
        background={table: held for part in parts for table, held in part.background.items()},
        functions=[function for part in parts for function in part.functions],
        owner_functions=[function for part in parts for function in part.owner_functions],
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    settings: Settings = app.state.settings
    services = switched_on(settings)
    async with AsyncExitStack() as stack:
        guard = await stack.enter_async_context(Connections(settings))
        db = await stack.enter_async_context(aclosing(Database(settings)))
        running = Runtime(settings, db, BlockedAddresses(settings.limit_auth_fail), rights())
        for service in services:
            if service.lifespan is not None:
                running.add(await stack.enter_async_context(service.lifespan(running)))
        app.state.runtime = running
        _seed_metrics()
        answers = [service.database_answers for service in services if service.database_answers is not None]
        endpoints = [service.fast_path(running) for service in services if service.fast_path is not None]
        yield {
            connections.STATE: guard,
            listener.STOPPING: running.stopping,
            fast_lane.STATE: endpoints[0] if endpoints else None,
            fast_lane.LAG: stack.enter_context(event_loop_lag.measured()),
            fast_lane.PROBE: HealthAtOnce(settings, lambda: any(answer(running) for answer in answers)),
        }


def _seed_metrics() -> None:
    """Make every known series appear with 0."""
    declared: list[Mapping[Any, Sequence[Sequence[str]]]] = [service.metric_labels for service in SERVICES]
    for labels in (SERVER_LABELS, *declared):
        for metric, values in labels.items():
            metrics.seed(metric, *values)
    metrics.seed(metrics.log_lines_lost, SHARES)
    metrics.seed(job_failures, ["scheduler", *(name for service in SERVICES for name in service.jobs)])
    metrics.seed(metrics.rate_limited, ["admin", RULE, *(rule for service in SERVICES for rule in service.rate_limits)])
    metrics.seed(metrics.shed, ["requests", *(queue for service in SERVICES for queue in service.queues)])
    refusals = {kind.code for service in SERVICES for kind in service.problems if kind.status in {401, 403}}
    metrics.seed(http_metrics.auth_failures, refusals)


def create_api(settings: Settings | None) -> FastAPI:
    """The routes and their error handling. Without settings it can be described but not run."""
    app = FastAPI(
        title="NexMDM",
        version=__version__,
        lifespan=_lifespan,
        redirect_slashes=False,
        openapi_url=None,  # the hand-written contract is served instead
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # ours are enough
    )
    app.state.settings = settings
    on = SERVICES if settings is None else switched_on(settings)
    app.state.shortcut = shortcut = Shortcut({service.name for service in on})
    app.router.routes.append(shortcut)
    for service in SERVICES:
        for path, handle in service.direct.items():
            shortcut.add(service.name, Route(path, handle, methods=["POST"]))
        for route in _routes(service.routers):
            shortcut.add(service.name, route)
            app.router.routes.append(route)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _framework_refusal)
    app.add_exception_handler(RequestValidationError, _invalid_parameters)
    for kind in OUTAGES:
        app.add_exception_handler(kind, _outage)
    app.add_exception_handler(Exception, _bug)
    return app


def create_app(settings: Settings) -> ASGIApp:
    """The whole application, ready for an ASGI server."""
    api = create_api(settings)
    find_route = api.state.shortcut.template
    on = switched_on(settings)
    standing = {path: queue(settings) for service in on for path, queue in service.standing.items()}
    inner: ASGIApp = Admission(api, settings.max_in_flight, find_route, standing)
    for service in on:
        if service.cross_origin is not None and (origins := service.cross_origin.origins(settings)):
            inner = CrossOriginAnswers(inner, service.cross_origin, origins, partial(_path_of, service))
    return ImpliedHead(Telemetry(Framing(inner)), find_route)


def _path_of(service: Service, scope: Scope) -> str | None:
    """The template of the request's path, whatever its method, where it is one of the service's."""
    for route in _routes(service.routers):
        if route.matches(scope)[0] is not Match.NONE:
            return route.path_format
    return None


def _routes(routers: Iterable[APIRouter]) -> Iterator[APIRoute]:
    return (route for router in routers for route in router.routes if isinstance(route, APIRoute))


async def _problem(_request: Request, problem: Any) -> Response:
    response: Response = problem.response(origin.get().request_id)
    return response


async def _framework_refusal(request: Request, refusal: Any) -> Response:
    """The router's own 404 and 405; the Allow of the latter names every method of the path, not of one route."""
    if refusal.status_code == 405:
        allow = ", ".join(sorted(_allowed_methods(request)))
        return await _problem(request, Problem(METHOD_NOT_ALLOWED, headers={"Allow": allow}))
    return await _problem(request, Problem(NOT_FOUND))


def _allowed_methods(request: Request) -> set[str]:
    allowed: set[str] = set()
    for route in _routes([request.app.router]):
        if route.matches(request.scope)[0] is not Match.NONE:
            allowed |= route.methods or set()
    return allowed | ({"HEAD"} if "GET" in allowed else set())


async def _invalid_parameters(request: Request, error: Any) -> Response:
    """422 for query, path and header parameters: pointer and reason, never the value."""
    errors: list[FieldError] = [
        {
            "pointer": "/" + "/".join(str(part) for part in item["loc"][:2]),
            "code": item["type"],
            "message": item["msg"][:200],
        }
        for item in error.errors()[:20]
    ]
    return await _problem(request, Problem(VALIDATION_ERROR, errors=errors))


async def _outage(request: Request, error: Exception) -> Response:
    """503 where the database is away; else the statement was at fault, and so were we."""
    report_outage(error)
    return await _problem(request, Problem(DEPENDENCY_UNAVAILABLE))


async def _bug(_request: Request, error: Exception) -> Response:
    # Without this, Starlette would answer in plain text. `Telemetry` logs it and answers as documented.
    try:
        raise error
    finally:
        del error  # with it this frame, which its traceback has, would keep all that the request held
