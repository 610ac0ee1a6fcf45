"""A real database of the service for these tests: each test has a clone of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from functools import partial

import psycopg
import pytest

from harness.postgres.server import Postgres
from harness.settings import backend_command
from harness.stack.backend import grant, migrate


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    """A server with the service's own tables, constraints and function in its template."""
    command = backend_command()
    with Postgres.start(durable=False) as started:
        started.template(partial(migrate, command), partial(grant, command))
        yield started


class Database:
    """A clone: the owner's URL, the reader's, and a hand that writes what it likes."""

    def __init__(self, server: Postgres) -> None:
        self.url = server.clone(f"pool_{secrets.token_hex(6)}")
        self.reader_url = server.reader_url(self.url)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run as the owner; its rows."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def database(server: Postgres) -> Database:
    return Database(server)
