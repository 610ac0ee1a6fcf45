"""Databases for the tests: each test that asks gets its own clone of a migrated one. It starts no server.

NEXMDM_DATABASE_URL names a PostgreSQL server where databases may be created; without it a test that needs one fails.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
import uvloop
from sqlalchemy import NullPool
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from support.database import settings_for

from nexmdm.app import create_api
from nexmdm.http.access_log import Telemetry
from nexmdm.kernel.database import Database
from nexmdm.schema import migrations

Execute = Callable[..., list[asyncpg.Record]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that workers run on: its transports are stricter than asyncio's own."""
    return {"uvloop": uvloop.new_event_loop}


def _execute(url: str, *statements: str) -> list[asyncpg.Record]:
    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            rows: list[asyncpg.Record] = []
            for statement in statements:
                rows = await connection.fetch(statement)
            return rows
        finally:
            await connection.close()

    return asyncio.run(run())


def _database(server: str, name: str) -> str:
    return urlsplit(server)._replace(path=f"/{name}").geturl()


@pytest.fixture
def execute() -> Execute:
    """Runs statements on the database of a URL, each in a transaction of its own; gives the rows of the last."""
    return _execute


@pytest.fixture(scope="session")
def server_url() -> str:
    """The server of NEXMDM_DATABASE_URL. A missing one is an error and never a skip."""
    url = os.environ.get("NEXMDM_DATABASE_URL")
    if not url:
        pytest.fail("NEXMDM_DATABASE_URL must name a PostgreSQL server where databases may be created", pytrace=False)
    return url


@pytest.fixture(scope="session")
def _template(server_url: str) -> Iterator[str]:
    name = f"nexmdm_template_{uuid.uuid4().hex[:12]}"
    _execute(server_url, f"CREATE DATABASE {name}")
    try:
        migrations.upgrade(_database(server_url, name))
        yield name
    finally:
        _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def _created(server: str, template: str) -> Iterator[str]:
    name = f"nexmdm_test_{uuid.uuid4().hex[:12]}"
    _execute(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")  # half the time, in memory
    try:
        yield _database(server, name)
    finally:
        _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database_url(server_url: str) -> Iterator[str]:
    """A database without a schema."""
    yield from _created(server_url, "template0")


@pytest.fixture
def database_url(server_url: str, _template: str) -> Iterator[str]:
    """A migrated database without rows, for one test."""
    yield from _created(server_url, _template)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on `database_url`."""
    made = create_async_engine(make_url(database_url).set(drivername="postgresql+asyncpg"), poolclass=NullPool)
    yield made
    await made.dispose()


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """The backend's own way to `database_url`."""
    made = Database(settings_for(database_url))
    yield made
    await made.aclose()


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A raw connection to `database_url` that commits each statement."""
    made: asyncpg.Connection[Any] = await asyncpg.connect(database_url)
    yield made
    await made.close()


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Where the application of `api` keeps builds; not there before the first."""
    return tmp_path / "apk"


@pytest.fixture
def overrides() -> dict[str, Any]:
    """Settings of the application of `api` that a module of tests wants otherwise."""
    return {}


@pytest.fixture
async def api(database_url: str, storage: Path, overrides: dict[str, Any]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the whole application, in this process, with the admin key. A build may have 4096 bytes."""
    objects = str(storage.with_name("objects"))
    given = {"storage_url": str(storage), "platform_storage_url": objects, "apk_max_bytes": 4096, **overrides}
    settings = settings_for(database_url, **given)
    app = create_api(settings)
    transport = httpx.ASGITransport(Telemetry(app), client=("203.0.113.9", 1))
    headers = {"X-Admin": settings.admin_key.get_secret_value()}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://mdm.example:81", headers=headers) as client,
    ):
        yield client
