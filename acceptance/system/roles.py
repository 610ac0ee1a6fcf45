"""The three roles of the database, as cases use them: a session of one of them, and what the service's one may do.

Does not make any role: harness.postgres.server does, and `nexmdm grant` gives the rights.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from acceptance.system.system import System

# Written down a second time, beside the backend's own list: neither may grow without the other.
RIGHTS = {
    "agent_capabilities": "DELETE INSERT SELECT",
    "agents": "DELETE INSERT SELECT UPDATE",
    "alembic_version": "SELECT",
    "allocations": "DELETE INSERT SELECT UPDATE",
    "api_keys": "INSERT SELECT UPDATE(last_used_at) UPDATE(revoked_at)",
    "apk_download_events": "DELETE INSERT SELECT UPDATE",
    "apk_versions": "INSERT SELECT",
    "breaker": "SELECT UPDATE",
    "brick_needs": "SELECT",
    "bricks": "SELECT UPDATE",
    "commands": "DELETE INSERT SELECT UPDATE",
    "device_heartbeats": "INSERT SELECT",
    "device_status": "INSERT SELECT UPDATE",
    "devices": "INSERT SELECT UPDATE",
    "dispatch_transitions": "INSERT SELECT",
    "enrollment_tokens": "INSERT SELECT UPDATE",
    "events": "INSERT SELECT",
    "fcm_dispatches": "DELETE INSERT SELECT UPDATE",
    "file_parts": "DELETE INSERT SELECT",
    "files": "DELETE INSERT SELECT UPDATE",
    "job_runs": "INSERT SELECT UPDATE",
    "mount_bases": "DELETE INSERT SELECT UPDATE",
    "mount_changes": "DELETE INSERT SELECT UPDATE",
    "mount_conflicts": "DELETE INSERT SELECT UPDATE",
    "mount_runs": "INSERT SELECT UPDATE",
    "mounts": "DELETE INSERT SELECT UPDATE",
    "objects": "INSERT SELECT UPDATE",
    "rate_limits": "DELETE INSERT SELECT UPDATE",
    "sandboxes": "DELETE INSERT SELECT UPDATE",
    "scheduled_jobs": "INSERT SELECT UPDATE",
    "signing_keys": "SELECT",
    "sync_runs": "DELETE INSERT SELECT UPDATE",
    "task_attempts": "INSERT SELECT UPDATE",
    "tasks": "INSERT SELECT UPDATE",
    "upload_parts": "DELETE INSERT SELECT",
    "uploads": "DELETE INSERT SELECT UPDATE",
    "waiters": "DELETE INSERT SELECT UPDATE",
    "zone_finalizers": "INSERT SELECT",
    "zones": "INSERT SELECT UPDATE",
}
# Of the role that the platform's loops take.
OF_THE_LOOPS = {
    "agents": "DELETE SELECT UPDATE",
    "api_keys": "SELECT UPDATE(revoked_at)",
    "bricks": "SELECT",
    "events": "DELETE INSERT SELECT",
    "files": "DELETE SELECT",
    "mount_bases": "DELETE SELECT",
    "mount_changes": "DELETE SELECT",
    "mount_conflicts": "DELETE SELECT",
    "mount_runs": "DELETE SELECT",
    "mounts": "DELETE SELECT",
    "objects": "DELETE SELECT",
    "task_attempts": "SELECT UPDATE",
    "tasks": "DELETE SELECT UPDATE",
    "uploads": "DELETE SELECT UPDATE",
    "zone_finalizers": "DELETE SELECT UPDATE",
    "zones": "DELETE SELECT UPDATE",
}
FUNCTIONS = {
    "nexmdm_allocate_sandbox": "EXECUTE",
    "nexmdm_ensure_heartbeat_partitions": "EXECUTE",
    "nexmdm_drop_heartbeat_partitions": "EXECUTE",
}
# Every right of every relation and function, by whatever way the role has it.
_HELD = """
    select relname as object, string_agg(r, ' ' order by r) as rights
    from (
        select relname, r from pg_class,
            unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) as r
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm')
            and has_table_privilege(%(role)s, oid, r)
        union all
        select relname, r || '(' || attname || ')' from pg_class join pg_attribute on attrelid = pg_class.oid,
            unnest(array['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) as r
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm')
            and attnum > 0 and not attisdropped and not has_table_privilege(%(role)s, pg_class.oid, r)
            and has_column_privilege(%(role)s, pg_class.oid, attnum, r)
    ) as one
    group by relname
    union all
    select proname, 'EXECUTE' from pg_proc
    where pronamespace = 'public'::regnamespace and has_function_privilege(%(role)s, oid, 'EXECUTE')
    union all
    select 'schema public', 'CREATE' where has_schema_privilege(%(role)s, 'public', 'CREATE')
"""

Connection = psycopg.Connection[Any]


def held(owner: Connection, role: str) -> dict[str, str]:
    """What the role can do, as the catalogue of the database tells it."""
    return dict(owner.execute(_HELD, {"role": role}).fetchall())


@contextmanager
def as_owner(system: System) -> Iterator[Connection]:
    """A session that commits each statement, of who migrated the database."""
    with psycopg.connect(system.running.owner["NEXMDM_DATABASE_URL"], autocommit=True) as connection:
        yield connection


@contextmanager
def as_app(system: System) -> Iterator[Connection]:
    """A session that commits each statement, with the very URL that the backend was given."""
    with psycopg.connect(system.running.env["NEXMDM_DATABASE_URL"], autocommit=True) as connection:
        yield connection


def refusal(connection: Connection, statement: str) -> str:
    """The SQLSTATE that the statement ends with; 00000 if the server does it."""
    try:
        connection.execute(statement.encode())
    except psycopg.Error as error:
        return error.sqlstate or type(error).__name__
    return "00000"
