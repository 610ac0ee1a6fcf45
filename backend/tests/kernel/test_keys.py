"""API keys: their form, their row and its constraints, and the one statement that judges a key and notes its use."""

from __future__ import annotations

import asyncio
import errno
import re
from hashlib import sha256
from typing import Any

import asyncpg
import pytest
from support.database import settings_for

from nexmdm.kernel import keys
from nexmdm.kernel.database import Database
from nexmdm.kernel.keys import KeyRefused, NewKey

KNOWN = ("one", "other")
ROW = "INSERT INTO api_keys (name, role, services, key_hash) VALUES ($1, $2, $3, $4)"
HASH = "0" * 64


async def made(url: str, name: str = "ci", services: list[str] | None = None) -> str:
    shown: list[tuple[str, keys.Key]] = []
    new = NewKey(name=name, role="admin", services=services)
    await keys.create(url, new, KNOWN, lambda *made: shown.append(made))
    return shown[0][0]


async def test_a_key_is_random_and_only_its_hash_is_stored(
    database_url: str, connection: asyncpg.Connection[Any]
) -> None:
    shown: list[tuple[str, keys.Key]] = []
    new = NewKey(name="ci", role="admin", services=["other", "one", "one"])
    await keys.create(database_url, new, KNOWN, lambda *made: shown.append(made))
    [(key, row)] = shown
    assert re.fullmatch(r"nxk_[A-Za-z0-9_-]{43}", key)
    assert key != await made(database_url, "another")
    stored = dict(await connection.fetchrow("SELECT * FROM api_keys WHERE name = 'ci'"))
    assert stored.pop("key_hash") == sha256(key.encode()).hexdigest()
    assert stored == {
        "name": "ci",
        "role": "admin",
        "services": ["one", "other"],
        "zone": None,
        "subject": None,
        "created_at": row.created_at,
        "last_used_at": None,
        "revoked_at": None,
    }


@pytest.mark.parametrize(
    "name,role,services,reason",
    [
        ("ci", "admin", None, "there is already a key ci"),
        ("", "admin", None, "a name is 1 to 64"),
        ("a name", "admin", None, "a name is 1 to 64"),
        ("ci\n", "admin", None, "a name is 1 to 64"),
        ("n" * 65, "admin", None, "a name is 1 to 64"),
        ("new", "root", None, "there is no role 'root'; there is admin"),
        ("new", "admin", ["one", "three"], "there is no service 'three'; there is one, other"),
        ("new", "admin", [""], "there is no service ''"),
    ],
)
async def test_what_no_key_can_be_is_refused(
    name: str,
    role: str,
    services: list[str] | None,
    reason: str,
    database_url: str,
    connection: asyncpg.Connection[Any],
) -> None:
    await made(database_url)
    new = NewKey(name=name, role=role, services=services)
    with pytest.raises(KeyRefused, match=reason):
        await keys.create(database_url, new, KNOWN, lambda *_: pytest.fail("a key was made"))
    assert await connection.fetchval("SELECT count(*) FROM api_keys") == 1


async def test_a_key_that_cannot_be_shown_is_not_made(database_url: str, connection: asyncpg.Connection[Any]) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        await keys.create(database_url, NewKey(name="ci", role="admin"), KNOWN, full)
    assert await connection.fetchval("SELECT count(*) FROM api_keys") == 0


async def test_without_the_table_it_says_what_to_do(empty_database_url: str) -> None:
    with pytest.raises(KeyRefused, match="nexmdm migrate"):
        await keys.listing(empty_database_url)


@pytest.mark.parametrize(
    "row,constraint",
    [
        (("ci", "admin", None, "1" * 64), "pk_api_keys"),
        (("new", "admin", None, HASH), "uq_api_keys_key_hash"),
        (("new", "root", None, "1" * 64), "ck_api_keys_role"),
        (("a name", "admin", None, "1" * 64), "ck_api_keys_name"),
        (("new", "admin", [], "1" * 64), "ck_api_keys_services"),
        (("new", "admin", [None], "1" * 64), "ck_api_keys_services"),
        (("new", "admin", None, f"nxk_{'a' * 43}"), "ck_api_keys_key_hash"),
    ],
)
async def test_the_table_holds_no_other_row(
    row: tuple[Any, ...], constraint: str, connection: asyncpg.Connection[Any]
) -> None:
    await connection.execute(ROW, "ci", "admin", None, HASH)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refusal:
        await connection.execute(ROW, *row)
    assert refusal.value.constraint_name == constraint


async def test_of_many_creations_of_a_name_one_makes_the_key(database_url: str) -> None:
    ends = await asyncio.gather(*(made(database_url) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(end, KeyRefused) for end in ends) == 7


async def test_a_key_opens_what_its_row_says(
    database_url: str, db: Database, connection: asyncpg.Connection[Any]
) -> None:
    everywhere, there = await made(database_url, "all"), await made(database_url, "there", ["one"])
    assert await keys.verify(db, everywhere, "admin", "one") == "all"
    assert await keys.verify(db, everywhere, "admin", "a later one") == "all"
    assert await keys.verify(db, there, "admin", "one") == "there"
    assert await keys.verify(db, there, "admin", "other") is None
    assert await keys.verify(db, there, "other", "one") is None
    assert await keys.verify(db, f"nxk_{'a' * 43}", "admin", "one") is None
    revoked = await keys.revoke(database_url, "there")
    assert await keys.verify(db, there, "admin", "one") is None
    assert await keys.revoke(database_url, "there") == revoked, "the first revocation stays"
    with pytest.raises(KeyRefused, match="there is no key 'nobody'"):
        await keys.revoke(database_url, "nobody")
    assert [key.name for key in await keys.listing(database_url)] == ["all", "there"]
    assert await connection.fetchval("SELECT last_used_at < revoked_at FROM api_keys WHERE name = 'there'")


@pytest.mark.parametrize(
    "presented",
    ["", "nxk_", "nxk_" + "a" * 42, "nxk_" + "a" * 44, f"nxk_{'a' * 42}+", f"nxe_{'a' * 43}", f"nxk_{'a' * 43}\n"],
)
async def test_what_is_no_key_costs_no_statement(presented: str) -> None:
    nowhere = Database(settings_for("postgresql://nobody@/nothing?host=/nonexistent"))
    assert await keys.verify(nowhere, presented, "admin", "one") is None
    with pytest.raises(FileNotFoundError):
        await keys.verify(nowhere, "nxk_" + "a" * 43, "admin", "one")
    await nowhere.aclose()


async def test_a_use_is_noted_once_a_minute(database_url: str, connection: asyncpg.Connection[Any]) -> None:
    db = Database(settings_for(database_url))
    key = await made(database_url)
    version = "SELECT xmin::text || ctid::text FROM api_keys"

    async def used(times: int = 1) -> bool:
        """Whether the requests wrote the row, once or more."""
        before = await connection.fetchval(version)
        assert await asyncio.gather(*(keys.verify(db, key, "admin", "one") for _ in range(times))) == ["ci"] * times
        return bool(await connection.fetchval(version) != before)

    assert await used(20)
    first = await connection.fetchval("SELECT last_used_at FROM api_keys")
    assert not await used(20)
    await connection.execute("UPDATE api_keys SET last_used_at = now() - interval '59 seconds'")
    assert not await used()
    await connection.execute("UPDATE api_keys SET last_used_at = now() - interval '61 seconds'")
    assert await used(20)
    assert await connection.fetchval("SELECT last_used_at FROM api_keys") > first
    await db.aclose()


async def test_the_look_up_is_by_index(database_url: str, connection: asyncpg.Connection[Any]) -> None:
    await connection.execute(
        "INSERT INTO api_keys (name, role, key_hash) SELECT 'k' || n, 'admin', encode(sha256(n::text::bytea), 'hex')"
        " FROM generate_series(1, 2000) AS n"
    )
    await connection.execute("ANALYZE api_keys")
    statement = re.sub(r"\$[12]\b", f"'{HASH}'", keys._VERIFY).replace("$3", "'{admin}'")
    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}"))
    assert "uq_api_keys_key_hash" in plan
    assert "Seq Scan on api_keys" not in plan
