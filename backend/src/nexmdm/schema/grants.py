"""What the service's own database role may do, table by table, and how it is given exactly that. It makes no role.

The service owns nothing: who migrates does, and only he can create, alter, drop or truncate. Days of heartbeats are
made and dropped for the service by two functions that run with the owner's rights, within bounds.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from nexmdm.kernel import sessions
from nexmdm.kernel.command_error import CommandError
from nexmdm.kernel.rights import BACKGROUND, Rights
from nexmdm.schema import revisions

_MISSING: Final = text(
    """
    SELECT right_name || ' on ' || table_name AS missing
    FROM unnest(CAST(:tables AS text[]), CAST(:rights AS text[])) AS wanted(table_name, right_name),
        regexp_match(right_name, '(\\w+) \\((\\w+)\\)') AS part
    WHERE NOT CASE
        WHEN part IS NULL THEN has_table_privilege(table_name, right_name)
        ELSE has_column_privilege(table_name, part[2], part[1])
    END
    UNION ALL
    SELECT 'EXECUTE on ' || signature FROM unnest(CAST(:functions AS text[])) AS signature
    WHERE NOT has_function_privilege(signature, 'EXECUTE')
    UNION ALL
    SELECT 'membership in ' || mine.name FROM (SELECT current_user || :ending AS name) AS mine
    WHERE NOT pg_has_role((SELECT relowner FROM pg_class WHERE oid = 'alembic_version'::regclass), 'USAGE')
        AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = mine.name AND pg_has_role(oid, 'SET'))
    ORDER BY missing
    """
)
_MEMBERSHIP: Final = """
    SELECT bool_and(set_option AND NOT inherit_option) FROM pg_auth_members AS held
        JOIN pg_roles AS role ON role.oid = held.roleid JOIN pg_roles AS member ON member.oid = held.member
    WHERE role.rolname = $1 AND member.rolname = $2
"""
_ZONED: Final = """
    SELECT oid::regclass::text AS name FROM pg_class WHERE relrowsecurity AND relnamespace = 'public'::regnamespace
"""
# Effective rights, whether they were given to the role, to PUBLIC, or to another role that it is a member of.
_HELD: Final = """
    SELECT c.relname || ' ' || r AS held
    FROM pg_class AS c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS r
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND has_table_privilege($1::name, c.oid, r)
    UNION ALL
    SELECT c.relname || ' ' || r || ' (' || a.attname || ')'
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS r
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND has_column_privilege($1::name, c.oid, a.attnum, r) AND NOT has_table_privilege($1::name, c.oid, r)
    UNION ALL
    SELECT 'schema public CREATE' WHERE has_schema_privilege($1::name, 'public', 'CREATE')
    ORDER BY held
"""
_TOO_MIGHTY: Final = """
    SELECT rolsuper OR pg_has_role(rolname, relowner, 'MEMBER')
    FROM pg_roles, pg_class WHERE rolname = $1 AND pg_class.oid = 'alembic_version'::regclass
"""


class GrantError(CommandError):
    """The role cannot be held to its rights."""


async def missing(connection: AsyncConnection | AsyncSession, rights: Rights) -> list[str]:
    """The rights that we need and that our role has not, such as `INSERT on devices`. Wants the schema at head."""
    pairs = [(table, right) for table, held in rights.tables.items() for right in held]
    names = {
        "tables": [table for table, _ in pairs],
        "rights": [right for _, right in pairs],
        "functions": list(rights.functions),
        "ending": BACKGROUND,
    }
    return list((await connection.execute(_MISSING, names)).scalars())


async def grant(url: str, role: str, rights: Rights) -> None:
    """Give the role these rights and take away everything else, in one transaction. Run as the owner.

    Raises:
        GrantError: there is no such role or no schema, or the role would still be able to do more.
    """
    connection = await sessions.connect(url)
    try:
        async with connection.transaction():
            # Two at once would trip over one another's changes of the catalogue.
            await connection.execute(f"SELECT pg_advisory_xact_lock({revisions.LOCK})")
            await _check_role(connection, role)
            await _replace(connection, role, rights)
            await _grant_background(connection, role, rights)
            if extra := {row["held"] for row in await connection.fetch(_HELD, role)} - _wanted(rights):
                raise GrantError(f"{role} can do more than it was given here: {', '.join(sorted(extra))}")
    finally:
        await connection.close()


async def _check_role(connection: asyncpg.Connection[Any], role: str) -> None:
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role):
        raise GrantError(f"there is no role {role}; make it first: CREATE ROLE {role} LOGIN PASSWORD ...")
    if await connection.fetchval("SELECT to_regclass('alembic_version') IS NULL"):
        raise GrantError("the database has no schema yet; run `nexmdm migrate` first")
    if await connection.fetchval(_TOO_MIGHTY, role):
        raise GrantError(f"{role} is a superuser, or has the rights of the owner: nothing can be kept from it")


async def _grant_background(connection: asyncpg.Connection[Any], role: str, rights: Rights) -> None:
    """The role of the background loops: it sees every zone, cannot log in, and only the service may take it."""
    background = role + BACKGROUND
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", background):
        try:
            await _execute(connection, "CREATE ROLE %I NOLOGIN", background)
        except asyncpg.InsufficientPrivilegeError:
            raise GrantError(f"no right to make roles; have it made first: CREATE ROLE {background} NOLOGIN") from None
    await _replace(connection, background, Rights(tables=rights.background))
    for row in await connection.fetch(_ZONED):
        await _execute(connection, f"DROP POLICY IF EXISTS %I ON {row['name']}", background)
        await _execute(connection, f"CREATE POLICY %1$I ON {row['name']} TO %1$I USING (true)", background)
    if not await connection.fetchval(_MEMBERSHIP, background, role):
        await _execute(connection, "GRANT %I TO %I WITH INHERIT FALSE, SET TRUE", background, role)


async def _replace(connection: asyncpg.Connection[Any], role: str, rights: Rights) -> None:
    for kind in ("TABLES", "SEQUENCES", "FUNCTIONS"):
        await _execute(connection, f"REVOKE ALL ON ALL {kind} IN SCHEMA public FROM %I", role)
    await _execute(connection, "REVOKE ALL ON SCHEMA public FROM %I", role)
    # Anybody may call a new function, and one that was restored from a backup without its rights is new.
    for function in (*rights.functions, *rights.owner_functions):
        await connection.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
    # Up to PostgreSQL 14 anybody may create tables there.
    if await connection.fetchval("SELECT has_schema_privilege($1::name, 'public', 'CREATE')", role):
        await connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    await _execute(connection, "GRANT USAGE ON SCHEMA public TO %I", role)
    for table, held in rights.tables.items():
        await _execute(connection, f"GRANT {', '.join(held)} ON {table} TO %I", role)
    for function in rights.functions:
        await _execute(connection, f"GRANT EXECUTE ON FUNCTION {function} TO %I", role)


async def _execute(connection: asyncpg.Connection[Any], statement: str, *roles: str) -> None:
    """Names cannot be parameters of such statements; PostgreSQL itself quotes these."""
    await connection.execute(await connection.fetchval("SELECT format($1, VARIADIC $2::text[])", statement, roles))


def _wanted(rights: Rights) -> set[str]:
    return {f"{table} {right}" for table, held in rights.tables.items() for right in held}
