"""The composition root: which nouns there are, what they share, how their failures become answers. It holds no rule."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Scope

from nexmdm import __version__
from nexmdm.fleet import action_results, apk, commands, devices, enrollment, heartbeats, registration, scripts
from nexmdm.fleet.device_tokens import DeviceTokens
from nexmdm.fleet.heartbeat_writer import HeartbeatWriter
from nexmdm.http.access_log import Telemetry
from nexmdm.http.admission import Admission
from nexmdm.http.failed_auth import LimitedSources
from nexmdm.http.framing import Framing
from nexmdm.http.head import ImpliedHead
from nexmdm.http.problems import METHOD_NOT_ALLOWED, NOT_FOUND
from nexmdm.kernel import metrics
from nexmdm.kernel.bcrypt_pool import Hashing
from nexmdm.kernel.database import OUTAGES, Database, report_outage
from nexmdm.kernel.log import origin
from nexmdm.kernel.problems import DEPENDENCY_UNAVAILABLE, VALIDATION_ERROR, FieldError, Problem
from nexmdm.kernel.settings import Settings
from nexmdm.operations import health, openapi
from nexmdm.operations.database_probe import Pulse
from nexmdm.server import connections, event_loop_lag, fast_lane
from nexmdm.server.connections import Connections

_ROUTERS = (
    heartbeats.router,  # first: the router looks from the top, and most requests are these
    registration.router,
    action_results.device_router,
    devices.router,
    commands.router,
    action_results.admin_router,
    enrollment.router,
    apk.router,
    scripts.router,
    health.router,
    openapi.router,
)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    settings: Settings = app.state.settings
    async with AsyncExitStack() as stack:
        guard = await stack.enter_async_context(Connections(settings))
        app.state.db = await stack.enter_async_context(aclosing(Database(settings)))
        app.state.pulse = await stack.enter_async_context(aclosing(Pulse(app.state.db)))
        app.state.limited_sources = LimitedSources(settings.limit_auth_fail)
        hashing = Hashing(settings.bcrypt_cost)
        stack.callback(hashing.close)
        app.state.device_tokens = DeviceTokens(app.state.db, hashing, settings.token_cache_size)
        app.state.heartbeats = await stack.enter_async_context(
            HeartbeatWriter(app.state.db, settings.max_waiting_heartbeats)
        )
        metrics.seed_labels()
        yield {
            connections.STATE: guard,
            fast_lane.STATE: heartbeats.FastHeartbeats(
                app.state.device_tokens, app.state.heartbeats, settings.heartbeat_interval_s
            ),
            fast_lane.PACE: stack.enter_context(event_loop_lag.kept()),
            fast_lane.PROBE: health.HealthAtOnce(settings, app.state.heartbeats),
        }


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
    for router in _ROUTERS:
        app.include_router(router)
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
    find_route = partial(_template, api)
    return ImpliedHead(Telemetry(Framing(Admission(api, settings.max_in_flight, find_route))), find_route)


def _template(app: FastAPI, scope: Scope) -> str | None:
    """The path template of the route that would take the request."""
    for route in _routes(app):
        if route.matches(scope)[0] is Match.FULL:
            return route.path
    return None


def _routes(app: FastAPI) -> Iterator[APIRoute]:
    return (context.route for context in iter_route_contexts(app.routes) if isinstance(context.route, APIRoute))


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
    for route in _routes(request.app):
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
    raise error
