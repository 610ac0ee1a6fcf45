"""A session holds what we rely on, whatever the database or the role has for a default."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from nexmdm.kernel import sessions
from nexmdm.kernel.database import is_unavailable

OTHERS = {
    "default_transaction_isolation": "serializable",
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "1ms",
    "transaction_timeout": "900ms",
    "search_path": "pg_catalog",
    "timezone": "Pacific/Kiritimati",
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "jit": "on",
    "max_parallel_workers_per_gather": "4",
}
_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY($1::text[])"


async def settings(url: str, names: list[str]) -> dict[str, str]:
    connection = await sessions.connect(url)
    try:
        return {row["name"].lower(): row["setting"] for row in await connection.fetch(_SETTINGS, names)}
    finally:
        await connection.close()


async def test_no_default_of_the_database_is_in_force(database_url: str, connection: asyncpg.Connection[Any]) -> None:
    names = await connection.fetch("SELECT name FROM pg_settings WHERE lower(name) = ANY($1::text[])", list(OTHERS))
    known = [row["name"] for row in names]
    before = await settings(database_url, known)
    name = await connection.fetchval("SELECT quote_ident(current_database())")
    for setting in known:
        await connection.execute(f"ALTER DATABASE {name} SET {setting} = {OTHERS[setting.lower()]!r}")
    assert await settings(database_url, known) == before
    assert before["default_transaction_isolation"] == "read committed"
    assert {value for key, value in before.items() if key.endswith("timeout")} == {"0"}


@pytest.mark.parametrize("given,held", [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")])
async def test_a_commit_reaches_the_disk_and_waits_for_as_much_as_the_operator_wants(
    given: str, held: str, database_url: str, connection: asyncpg.Connection[Any]
) -> None:
    name = await connection.fetchval("SELECT quote_ident(current_database())")
    await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = {given}")
    assert await settings(database_url, ["synchronous_commit"]) == {"synchronous_commit": held}


async def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    with pytest.raises(ConnectionRefusedError) as refused:
        await sessions.connect("postgresql://nexmdm:a-password@127.0.0.1:1/nexmdm")
    assert refused.value.filename == "PostgreSQL at 127.0.0.1:1"


@pytest.mark.parametrize("code", ["40001", "40P01", "25P03", "25P04", "0A000"])
async def test_a_transaction_that_the_server_ended_is_no_bug(code: str, connection: asyncpg.Connection[Any]) -> None:
    with pytest.raises(asyncpg.PostgresError) as undone:
        await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$")
    assert is_unavailable(undone.value)
