"""The shortcut to a path's route leads where the search through all routes would."""

import re

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Match
from starlette.types import Scope

from nexmdm.app import create_api
from nexmdm.http.routing import Direct, Shortcut

APP = create_api(None)
ROUTES = [context.route for context in iter_route_contexts(APP.routes) if isinstance(context.route, APIRoute)]
SHORTCUT = APP.router.routes[0]


def asked(method: str, path: str) -> Scope:
    return {"type": "http", "method": method, "path": path, "root_path": "", "headers": [], "app": APP}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{min(route.methods)} {route.path}")
def test_the_shortcut_knows_every_route(route: APIRoute) -> None:
    assert isinstance(SHORTCUT, Shortcut)
    wanted = min(route.methods or ()), re.sub("{.*?}", "a1", route.path)
    first = next(other for other in ROUTES if other.matches(asked(*wanted))[0] is Match.FULL)
    match, child = SHORTCUT.matches(asked(*wanted))
    assert match is Match.FULL
    found = child["nexmdm.found"]
    if isinstance(found, Direct):
        assert (found.path, wanted[0]) == (first.path, "POST")
    else:
        assert any(context.route is first for context in iter_route_contexts([found]))


UNKNOWN = ("PUT /a/fixed", "GET /a", "GET /a/", "GET /a/b/c/d", "GET /a/fixed/d", "GET /", "GET *", "GET ")


@pytest.mark.parametrize("request_line", UNKNOWN)
def test_what_it_does_not_know_is_left_to_the_others(request_line: str) -> None:
    method, _, path = request_line.partition(" ")
    assert shortcut().matches(asked(method, path)) == (Match.NONE, {})


@pytest.mark.parametrize("path", ["/a/fixed", "/a/b", "/a/b/c", "/a/fixed/c"])
def test_what_one_router_has_is_found(path: str) -> None:
    assert shortcut().matches(asked("GET", path))[0] is Match.FULL


def shortcut() -> Shortcut:
    """Of one router with GETs."""
    router, made = APIRouter(), Shortcut()
    for path in ("/a/{name}", "/a/fixed", "/a/{name}/c"):
        router.get(path)(lambda: None)
    app = FastAPI()
    app.include_router(router)
    made.add_router(app.router.routes[-1])
    return made
