"""An admin of the pool, and the provider of sandboxes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from support.provider import FakeProvider, serving

from nexmdm.kernel import keys, log
from nexmdm.kernel.keys import NewKey


@pytest.fixture
async def admin(api: httpx.AsyncClient, database_url: str) -> httpx.AsyncClient:
    """`api` with an API key of role admin in the place of the environment's key."""
    shown: list[str] = []
    await keys.create(database_url, NewKey(name="ci", role="admin"), (), lambda key, _: shown.append(key))
    api.headers = httpx.Headers({"Authorization": f"Bearer {shown[0]}"})
    return api


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    """A provider that lists nothing yet."""
    async with serving() as made:
        yield made


@pytest.fixture
def logged(capfd: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, Any]]]:
    """The lines of the test so far. A thread writes them: those of the tests before have to be out first."""
    log.flush()
    capfd.readouterr()
    seen: list[dict[str, Any]] = []

    def lines() -> list[dict[str, Any]]:
        log.flush()
        seen.extend(json.loads(line) for line in capfd.readouterr().out.splitlines())
        return seen

    return lines
