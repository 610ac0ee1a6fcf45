"""Alembic's entry: runs revisions over asyncpg, in one transaction, one process at a time. It writes no SQL scripts."""

import asyncio
import re
from typing import Any

from alembic import context
from sqlalchemy import pool, text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from nexmdm.kernel import sessions, settings
from nexmdm.schema import revisions
from nexmdm.schema.metadata import METADATA


def _include(_object: Any, name: str | None, kind: str, _reflected: bool, _compared: Any) -> bool:
    # Partitions come and go with the days; only their parent is part of the schema.
    return not (kind == "table" and re.fullmatch(r"device_heartbeats_\d{8}", name or ""))


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        include_object=_include,
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        # Before the current revision is read, so that a second process sees what the first has done.
        connection.execute(text(f"SELECT pg_advisory_xact_lock({revisions.LOCK})"))
        context.run_migrations()


async def _connect_and_run() -> None:
    url = context.config.attributes.get("url") or settings.migration_url()
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: sessions.connect(url), poolclass=pool.NullPool
    )
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    raise SystemExit("nexmdm: migrations run against a database only, not as an SQL script")
asyncio.run(_connect_and_run())
