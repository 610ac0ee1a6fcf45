"""Device tokens: only our own cost a check, each once per process; whoever made one up costs nobody anything."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import bcrypt
import pytest
from support.database import TOKEN_SECRET, store_device

from nexmdm.fleet.device_tokens import DeviceTokens, mac_suffix
from nexmdm.kernel.bcrypt_pool import Hashing
from nexmdm.kernel.database import Database
from nexmdm.kernel.problems import Problem


@pytest.fixture
async def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The secrets that bcrypt was asked about."""
    asked: list[bytes] = []
    real = bcrypt.checkpw

    def counted(password: bytes, hashed: bytes) -> bool:
        asked.append(password)
        return real(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    return asked


@pytest.fixture
def tokens(db: Database) -> DeviceTokens:
    return DeviceTokens(db, Hashing(4), 2)


@pytest.fixture
async def device(connection: asyncpg.Connection[Any]) -> UUID:
    return await store_device(connection)


@pytest.fixture
async def key(connection: asyncpg.Connection[Any]) -> bytes:
    stored: bytes = await connection.fetchval("SELECT key FROM signing_keys WHERE name = 'device_token'")
    return stored


def token_of(key: bytes, device: UUID, secret: str = TOKEN_SECRET) -> str:
    return f"nxd_{device.hex}_{secret}{mac_suffix(key, device, secret)}"


async def test_racing_requests_with_one_token_cost_one_check(
    tokens: DeviceTokens, device: UUID, key: bytes, checks: list[bytes]
) -> None:
    found = await asyncio.gather(*(tokens.identify(token_of(key, device)) for _ in range(50)))
    assert {identity.device_id for identity in found if identity} == {device}
    assert checks == [TOKEN_SECRET.encode()], "once, and no more than what bcrypt reads"


async def test_a_token_that_somebody_made_up_costs_no_check(
    tokens: DeviceTokens, device: UUID, key: bytes, checks: list[bytes]
) -> None:
    good = token_of(key, device)
    another = mac_suffix(bytes(32), device, TOKEN_SECRET)
    wrong = [
        good[:-11],  # as it would be without a ticket
        good[:-11] + another,
        token_of(key, device, "w" * 43)[:-11] + good[-11:],
        token_of(key, uuid4())[:-11] + good[-11:],
    ]
    assert [await tokens.identify(token) for token in wrong] == [None] * 4
    assert checks == []


async def test_a_token_of_before_is_refused_and_checked_once(
    tokens: DeviceTokens, device: UUID, key: bytes, checks: list[bytes]
) -> None:
    before = token_of(key, device, "b" * 43)
    assert [await tokens.identify(before) for _ in range(3)] == [None, None, None]
    assert len(checks) == 1


async def test_an_issued_token_is_known_and_is_good_elsewhere(
    tokens: DeviceTokens, db: Database, connection: asyncpg.Connection[Any], checks: list[bytes]
) -> None:
    secret, token_hash = await tokens.generate()
    device = await store_device(connection, token_hash=token_hash)
    token = await tokens.issue(device, 1, secret)
    assert tokens.known(token) == await tokens.identify(token)
    assert checks == []
    elsewhere = await DeviceTokens(db, Hashing(4), 2).identify(token)
    assert elsewhere is not None
    assert elsewhere.device_id == device


async def test_the_memory_is_bounded_and_a_forgotten_token_is_checked_again(
    tokens: DeviceTokens, device: UUID, key: bytes, connection: asyncpg.Connection[Any], checks: list[bytes]
) -> None:
    others = [await store_device(connection) for _ in range(2)]
    for each in (device, *others, device):
        assert await tokens.identify(token_of(key, each)) is not None
    assert len(checks) == 4


async def test_a_caller_that_leaves_does_not_fail_the_others(tokens: DeviceTokens, device: UUID, key: bytes) -> None:
    first, second = (asyncio.create_task(tokens.identify(token_of(key, device))) for _ in range(2))
    await asyncio.sleep(0.005)
    first.cancel()
    assert await second is not None


async def test_where_too_many_wait_the_rest_is_turned_away_and_comes_in_later(
    db: Database, key: bytes, connection: asyncpg.Connection[Any]
) -> None:
    tokens = DeviceTokens(db, Hashing(4, slots=3), 100)
    devices = [await store_device(connection) for _ in range(5)]
    found = await asyncio.gather(*(tokens.identify(token_of(key, one)) for one in devices), return_exceptions=True)
    turned_away = [one for one in found if isinstance(one, Problem)]
    assert [problem.code for problem in turned_away] == ["overloaded"] * 2
    assert tokens.turned_away(token_of(key, devices[0])) is None, "there is room again"
    assert [await tokens.identify(token_of(key, one)) is not None for one in devices] == [True] * 5


async def test_the_fast_lane_turns_away_only_what_has_to_be_hashed(
    db: Database, key: bytes, connection: asyncpg.Connection[Any]
) -> None:
    hashing = Hashing(4, slots=1)
    tokens = DeviceTokens(db, hashing, 100)
    device = await store_device(connection)
    dead, cold = token_of(key, device, "d" * 43), token_of(key, await store_device(connection))
    assert await tokens.identify(dead) is None
    with hashing.slot():
        refused = tokens.turned_away(cold)
        assert refused is not None
        assert refused.code == "overloaded"
        made_up = [cold[:-11], cold[:-11] + "A" * 11, "nxd_", "é"]
        assert [tokens.turned_away(token) for token in (dead, *made_up)] == [None] * 5
