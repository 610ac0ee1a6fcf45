"""The shortcut to a path's route leads where the search through all routes would."""

import re

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import Match, Route
from starlette.types import Scope

from nexmdm.app import create_api
from nexmdm.http.routing import Shortcut, _starts

APP = create_api(None)
ROUTES = [route for route in APP.routes if isinstance(route, APIRoute)]
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
    found = child["route"]
    if found is not first:  # a POST that is answered directly
        assert (type(found), found.path, found.methods) == (Route, first.path, {"POST"})
    assert SHORTCUT.template(asked(*wanted)) == first.path_format


UNKNOWN = ("PUT /a/fixed", "GET /a", "GET /a/", "GET /a/b/c/d", "GET /a/fixed/d", "GET /", "GET *", "GET ")


@pytest.mark.parametrize("request_line", UNKNOWN)
def test_what_it_does_not_know_is_left_to_the_others(request_line: str) -> None:
    method, _, path = request_line.partition(" ")
    assert shortcut().matches(asked(method, path)) == (Match.NONE, {})
    assert shortcut().template(asked(method, path)) is None


@pytest.mark.parametrize("path", ["/a/fixed", "/a/b", "/a/b/c", "/a/fixed/c"])
def test_what_one_router_has_is_found(path: str) -> None:
    assert shortcut().matches(asked("GET", path))[0] is Match.FULL


def test_a_method_that_only_a_shorter_beginning_has_is_found() -> None:
    assert shortcut().template(asked("DELETE", "/a/fixed")) == "/a/{name}"


def test_of_a_long_path_only_the_beginning_is_walked() -> None:
    assert list(_starts("/a/b/c/" + "/" * 60_000, 5))[1:] == ["/a/b/", "/a/", "/"]
    assert shortcut().template(asked("GET", "/a/" + "b" * 60_000)) == "/a/{name}"


def test_a_parameter_within_a_segment_is_refused() -> None:
    with pytest.raises(ValueError, match=r"/a/b\{name\}: a parameter must begin a segment"):
        shortcut("/a/b{name}")


def shortcut(*more: str) -> Shortcut:
    """Of one router with GETs and a DELETE."""
    router, made = APIRouter(), Shortcut({"s"})
    for path in ("/a/{name}", "/a/fixed", "/a/{name}/c", *more):
        router.get(path)(lambda: None)
    router.delete("/a/{name}")(lambda: None)
    for route in router.routes:
        assert isinstance(route, APIRoute)
        made.add("s", route)
    return made
