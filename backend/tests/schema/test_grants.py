"""The service's role: given exactly its rights, whatever it had before; refused where nothing could be kept from it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from nexmdm.app import rights
from nexmdm.kernel.rights import BACKGROUND
from nexmdm.schema import grants, migrations
from nexmdm.schema.metadata import METADATA

Execute = Callable[..., list[asyncpg.Record]]
RIGHTS = rights()
TODAY = datetime.now(UTC).date()


@pytest.fixture
def role(server_url: str, execute: Execute) -> Iterator[str]:
    """A role of its own, whose name needs quoting; databases that know it must be gone before it."""
    name = f'nexmdm "app" {uuid.uuid4().hex[:8]}'
    quoted = '"' + name.replace('"', '""') + '"'
    execute(server_url, f"CREATE ROLE {quoted}")
    yield name
    background = '"' + (name + BACKGROUND).replace('"', '""') + '"'
    execute(
        server_url, f"DROP ROLE IF EXISTS {background}", f"DROP ROLE {quoted}"
    )  # fails where a test has left rights behind


@pytest.fixture
def quoted(role: str) -> str:
    """The role as SQL writes it."""
    return '"' + role.replace('"', '""') + '"'


@pytest.fixture
def url(role: str, database_url: str) -> str:
    """A migrated database, which is dropped before the role is."""
    del role
    return database_url


async def listed(connection: asyncpg.Connection[Any], quoted: str) -> dict[str, set[str]]:
    """Every entry of the catalogue that names the role: object -> rights."""
    rows = await connection.fetch(
        """
        SELECT relname AS object, privilege_type AS held FROM pg_class, aclexplode(relacl)
            WHERE grantee = $1::text::regrole::oid
        UNION ALL
        SELECT attrelid::regclass::text, privilege_type || ' (' || attname || ')' FROM pg_attribute, aclexplode(attacl)
            WHERE grantee = $1::text::regrole::oid
        UNION ALL
        SELECT proname, privilege_type FROM pg_proc, aclexplode(proacl) WHERE grantee = $1::text::regrole::oid
        UNION ALL
        SELECT 'schema ' || nspname, privilege_type FROM pg_namespace, aclexplode(nspacl)
            WHERE grantee = $1::text::regrole::oid
        """,
        quoted,
    )
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["object"], set()).add(row["held"])
    return found


EXACTLY = {
    **{table: set(held) for table, held in RIGHTS.tables.items()},
    **{signature.partition("(")[0]: {"EXECUTE"} for signature in RIGHTS.functions},
    "schema public": {"USAGE"},
}


async def test_the_catalogue_has_the_rights_and_no_other(url: str, role: str, quoted: str, connection: Any) -> None:
    await connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {quoted}")
    await connection.execute(f"GRANT ALL ON SCHEMA public TO {quoted}")
    await connection.execute(f"GRANT UPDATE (role, last_used_at) ON api_keys TO {quoted}")
    await grants.grant(url, role, RIGHTS)
    assert await listed(connection, quoted) == EXACTLY
    await grants.grant(url, role, RIGHTS)
    assert await listed(connection, quoted) == EXACTLY


async def test_many_at_once_end_as_one(url: str, role: str, quoted: str, connection: Any) -> None:
    await asyncio.gather(*(grants.grant(url, role, RIGHTS) for _ in range(6)))
    assert await listed(connection, quoted) == EXACTLY


def test_every_table_is_spoken_of() -> None:
    assert set(RIGHTS.tables) == {*METADATA.tables, "alembic_version"}


async def test_what_another_role_gives_is_refused(url: str, role: str, quoted: str, connection: Any) -> None:
    await connection.execute(f"GRANT pg_write_all_data TO {quoted}")
    with pytest.raises(grants.GrantError, match=r"can do more .*: .*devices DELETE"):
        await grants.grant(url, role, RIGHTS)
    assert await listed(connection, quoted) == {}, "all or nothing"
    await connection.execute(f"REVOKE pg_write_all_data FROM {quoted}; GRANT TRUNCATE ON devices TO PUBLIC")
    with pytest.raises(grants.GrantError, match=r": devices TRUNCATE$"):
        await grants.grant(url, role, RIGHTS)
    await connection.execute("REVOKE TRUNCATE ON devices FROM PUBLIC; GRANT UPDATE (key_hash) ON api_keys TO PUBLIC")
    with pytest.raises(grants.GrantError, match=r": api_keys UPDATE \(key_hash\)$"):
        await grants.grant(url, role, RIGHTS)


async def test_where_anybody_may_create_nobody_may_afterwards(url: str, role: str, connection: Any) -> None:
    await connection.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")  # the default up to PostgreSQL 14
    await grants.grant(url, role, RIGHTS)
    assert not await connection.fetchval("SELECT has_schema_privilege($1::name, 'public', 'CREATE')", role)


async def test_a_role_that_nothing_can_be_kept_from_is_refused(
    url: str, role: str, quoted: str, connection: Any
) -> None:
    owner = await connection.fetchval("SELECT current_user::text")
    with pytest.raises(grants.GrantError, match="nothing can be kept from it"):
        await grants.grant(url, owner, RIGHTS)
    await connection.execute(f"GRANT {owner} TO {quoted}")
    with pytest.raises(grants.GrantError, match="nothing can be kept from it"):
        await grants.grant(url, role, RIGHTS)


async def test_an_unknown_role_and_an_empty_database_are_told_apart(empty_database_url: str, role: str) -> None:
    with pytest.raises(grants.GrantError, match="there is no role nobody; make it first"):
        await grants.grant(empty_database_url, "nobody", RIGHTS)
    with pytest.raises(grants.GrantError, match="no schema yet"):
        await grants.grant(empty_database_url, role, RIGHTS)


async def test_what_is_missing_is_named(url: str, role: str, quoted: str, engine: AsyncEngine, connection: Any) -> None:
    await grants.grant(url, role, RIGHTS)
    await connection.execute(f"REVOKE UPDATE ON devices FROM {quoted}")
    await connection.execute(f"REVOKE UPDATE (last_used_at) ON api_keys FROM {quoted}")
    await connection.execute(f"REVOKE EXECUTE ON FUNCTION nexmdm_drop_heartbeat_partitions(date) FROM {quoted}")
    async with engine.connect() as session:
        assert await grants.missing(session, RIGHTS) == []  # the owner
        await session.exec_driver_sql(f"SET ROLE {quoted}")
        assert await grants.missing(session, RIGHTS) == [
            "EXECUTE on nexmdm_drop_heartbeat_partitions(date)",
            "UPDATE (last_used_at) on api_keys",
            "UPDATE on devices",
        ]


async def test_the_owner_is_not_bounded_and_a_downgrade_leaves_his_functions(url: str, connection: Any) -> None:
    far = TODAY + timedelta(days=400)
    assert await connection.fetchval("SELECT nexmdm_ensure_heartbeat_partitions($1, $1)", far) == 1
    await asyncio.to_thread(migrations.downgrade, url, "e90b5d3c1f48")
    assert await connection.fetchval("SELECT nexmdm_ensure_heartbeat_partitions($1, $1)", far + timedelta(days=1)) == 1
