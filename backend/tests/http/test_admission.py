"""What is turned away: beyond the bound everything but the probes, until a first answer has begun; and at what cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from nexmdm.http.admission import Admission
from nexmdm.kernel import standing_queue
from nexmdm.kernel.load_shedding import reject_overloaded
from nexmdm.kernel.standing_queue import PLACES_EACH, StandingQueue


class Held:
    """An application that waits before its answer (`/wait`) or in the middle of it (`/stream`) until it may go on."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.asked = 0

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.asked += 1
        if scope["path"] == "/wait":
            await self.go_on.wait()
        if scope["path"] == "/fail":
            raise ZeroDivisionError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/stream":
            await self.go_on.wait()
        await send({"type": "http.response.body"})


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
async def client(held: Held) -> AsyncIterator[httpx.AsyncClient]:
    admission = Admission(held, 2, lambda scope: None if scope["path"] == "/unknown" else "/route")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(admission), base_url="http://x") as made:
        yield made


async def begun(held: Held, client: httpx.AsyncClient, path: str, count: int = 2) -> list[asyncio.Task[httpx.Response]]:
    """So many requests that the application has and that do not end yet."""
    tasks = [asyncio.create_task(client.get(path)) for _ in range(count)]
    async with asyncio.timeout(5):
        while held.asked < count:  # noqa: ASYNC110  # the application tells nobody
            await asyncio.sleep(0)
    return tasks


async def test_beyond_the_bound_requests_are_turned_away_and_later_taken(held: Held, client: httpx.AsyncClient) -> None:
    waiting = await begun(held, client, "/wait")
    refused = await client.get("/other")
    assert (refused.status_code, refused.json()["code"], held.asked) == (503, "overloaded", 2)
    assert int(refused.headers["retry-after"]) >= 1
    for path in ("/healthz", "/readyz", "/metrics", "/unknown"):
        assert (await client.get(path)).status_code == 200
    held.go_on.set()
    assert [(await one).status_code for one in waiting] == [200, 200]
    assert (await client.get("/other")).status_code == 200


async def test_an_answer_that_streams_holds_no_place(held: Held, client: httpx.AsyncClient) -> None:
    streaming = await begun(held, client, "/stream")
    assert (await client.get("/other")).status_code == 200
    held.go_on.set()
    await asyncio.gather(*streaming)


async def test_a_place_is_given_back_when_a_caller_leaves(held: Held, client: httpx.AsyncClient) -> None:
    for task in await begun(held, client, "/wait"):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert (await client.get("/other")).status_code == 200


async def test_a_place_is_given_back_after_a_fault(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await client.get("/fail")
    assert (await client.get("/other")).status_code == 200


async def test_a_queue_that_stands_is_kept_short_and_others_pass_by(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing_queue, "CROWD_S", 0.05)
    admission = Admission(held, 512, lambda _: "/route", {"/wait": StandingQueue("things", 1)})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(admission), base_url="http://x") as client:
        waiting = await begun(held, client, "/wait", 2 * PLACES_EACH)
        await asyncio.sleep(0.06)
        async with asyncio.timeout(5):
            refused = await client.get("/wait")
        assert (refused.status_code, refused.json()["code"], held.asked) == (503, "overloaded", 2 * PLACES_EACH)
        assert (await client.get("/other")).status_code == 200
        held.go_on.set()
        assert {(await one).status_code for one in waiting} == {200}
        assert (await client.get("/wait")).status_code == 200


def test_a_crowd_is_not_told_to_come_back_together() -> None:
    pauses_s = {int(reject_overloaded("requests", 20).headers["Retry-After"]) for _ in range(200)}
    assert 10 <= min(pauses_s) < max(pauses_s) <= 30
    assert int(reject_overloaded("requests", 0.01).headers["Retry-After"]) == 1
