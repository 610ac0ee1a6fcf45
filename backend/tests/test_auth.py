"""Device tokens: bcrypt once per good token, off the event loop, and never for a token that is known to be bad."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import bcrypt
import pytest
from kernel import TOKEN_SECRET, settings_for, store_device

from nexmdm.auth import DeviceTokens, device_token
from nexmdm.db import Database


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    made = Database(settings_for(database_url))
    yield made
    await made.aclose()


@pytest.fixture
async def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The passwords that bcrypt was asked about."""
    asked: list[bytes] = []
    real = bcrypt.checkpw

    def counted(password: bytes, hashed: bytes) -> bool:
        asked.append(password)
        return real(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    return asked


@pytest.fixture
def tokens(database_url: str) -> DeviceTokens:
    return DeviceTokens(settings_for(database_url, token_cache_size=2))


@pytest.fixture
async def device(connection: asyncpg.Connection[Any]) -> UUID:
    return await store_device(connection)


async def test_racing_requests_with_one_token_cost_one_check(
    db: Database, tokens: DeviceTokens, device: UUID, checks: list[bytes]
) -> None:
    token = device_token(device, TOKEN_SECRET)
    found = await asyncio.gather(*(tokens.identify(token, db) for _ in range(50)))
    assert {identity.device_id for identity in found if identity} == {device}
    assert len(checks) == 1


async def test_a_wrong_token_is_refused_and_checked_once(
    db: Database, tokens: DeviceTokens, device: UUID, checks: list[bytes]
) -> None:
    wrong = device_token(device, "w" * 43)
    assert [await tokens.identify(wrong, db) for _ in range(3)] == [None, None, None]
    assert len(checks) == 1


async def test_the_memory_is_bounded_and_a_forgotten_token_is_checked_again(
    db: Database, tokens: DeviceTokens, device: UUID, connection: asyncpg.Connection[Any], checks: list[bytes]
) -> None:
    others = [await store_device(connection) for _ in range(2)]
    for each in (device, *others, device):
        assert await tokens.identify(device_token(each, TOKEN_SECRET), db) is not None
    assert len(checks) == 4


async def test_the_loop_runs_on_while_bcrypt_works(tokens: DeviceTokens) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    await tokens.hash(TOKEN_SECRET)
    ticking.cancel()
    assert ticks > 100, "the event loop stood still during bcrypt"


async def test_a_caller_that_leaves_does_not_fail_the_others(db: Database, tokens: DeviceTokens, device: UUID) -> None:
    token = device_token(device, TOKEN_SECRET)
    first, second = (asyncio.create_task(tokens.identify(token, db)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is not None
