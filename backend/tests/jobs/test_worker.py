"""A job that fails is begun again with backoff, and never alone ends what it runs beside."""

from __future__ import annotations

import asyncio
import json

import pytest

from nexmdm.jobs import worker


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(worker, "_LONGEST_PAUSE_S", 0.04)


async def test_a_job_that_fails_is_begun_again_ever_later(pauses: None, capfd: pytest.CaptureFixture[str]) -> None:
    left = [ValueError("secret")] * 4

    async def job() -> None:
        if left:
            raise left.pop()

    await worker._keep("dispatcher", job, asyncio.Event())
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["retry_in_s"] for line in lines] == [0.01, 0.02, 0.04, 0.04]
    assert {(line["event"], line["job"], line["error"]) for line in lines} == {("job.fail", "dispatcher", "ValueError")}


async def test_a_job_that_has_lasted_is_begun_again_soon(pauses: None, capfd: pytest.CaptureFixture[str]) -> None:
    lasts_s = [0.0, 0.0, 0.1]

    async def job() -> None:
        if lasts_s:
            await asyncio.sleep(lasts_s.pop(0))
            raise ValueError

    await worker._keep("dispatcher", job, asyncio.Event())
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["retry_in_s"] for line in lines] == [0.01, 0.02, 0.01]


async def test_the_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_FIRST_PAUSE_S", 60.0)
    stop = asyncio.Event()

    async def job() -> None:
        asyncio.get_running_loop().call_soon(stop.set)
        raise ValueError

    async with asyncio.timeout(2):
        await worker._keep("dispatcher", job, stop)
