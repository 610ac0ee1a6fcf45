"""An admin of the pool, and the provider of sandboxes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from support.provider import FakeProvider, serving

from nexmdm.kernel import keys


@pytest.fixture
async def admin(api: httpx.AsyncClient, database_url: str) -> httpx.AsyncClient:
    """`api` with an API key of role admin in the place of the environment's key."""
    shown: list[str] = []
    await keys.create(database_url, "ci", "admin", None, (), lambda key, _: shown.append(key))
    api.headers = httpx.Headers({"Authorization": f"Bearer {shown[0]}"})
    return api


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    """A provider that lists nothing yet."""
    async with serving() as made:
        yield made
