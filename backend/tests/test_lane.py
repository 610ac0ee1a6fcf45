"""The fast lane takes what is its own, leaves the rest to the API, and answers refusals as the API does."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from nexmdm.errors import Problem
from nexmdm.lane import FastLane


async def api(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("api")(scope, receive, send)


async def endpoint(request: Request) -> Response:
    body = await request.body()
    if body == b"refuse":
        raise Problem("malformed_json")
    if body == b"bug":
        raise ZeroDivisionError
    return PlainTextResponse(f"lane {request.app is api} {request.scope['nexmdm.route']}")


async def refuse(_request: Request, error: Exception) -> Response:
    if isinstance(error, Problem):
        return error.response("r-1")
    raise error


async def post(path: str = "/fast", content: bytes = b"", method: str = "POST") -> httpx.Response:
    transport = httpx.ASGITransport(FastLane(api, {("POST", "/fast"): endpoint}, refuse))
    async with httpx.AsyncClient(transport=transport, base_url="http://lane") as client:
        return await client.request(method, path, content=content)


async def test_it_serves_its_own_and_names_the_route() -> None:
    assert (await post()).text == "lane True /fast"


@pytest.mark.parametrize("method,path", [("GET", "/fast"), ("POST", "/fast/"), ("POST", "/other"), ("post", "/Fast")])
async def test_everything_else_is_the_api_s(method: str, path: str) -> None:
    assert (await post(path, method=method)).text == "api"


async def test_a_refusal_is_answered_and_a_bug_is_raised() -> None:
    assert (await post(content=b"refuse")).json()["code"] == "malformed_json"
    with pytest.raises(ZeroDivisionError):
        await post(content=b"bug")


async def test_what_is_no_request_is_the_api_s() -> None:
    seen: list[Any] = []

    async def lifespan(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["type"])

    lane = FastLane(lifespan, {}, refuse)
    await lane({"type": "lifespan"}, None, None)  # type: ignore[arg-type]  # it hands them on unseen
    assert seen == ["lifespan"]
