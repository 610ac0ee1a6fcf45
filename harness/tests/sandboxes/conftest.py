"""A real database of the service for these tests, by default a clone for each."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

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
    """A clone: the owner's URL, the reader's, and a session of the owner."""

    def __init__(self, server: Postgres, name: str) -> None:
        self.url = server.clone(name)
        self.reader_url = server.reader_url(self.url)
        self.session = psycopg.connect(self.url, autocommit=True)

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run as the owner; its rows."""
        cursor = self.session.execute(statement.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def cloned(server: Postgres) -> Iterator[Database]:
    """A database that lasts as long as the block."""
    name = f"pool_{secrets.token_hex(6)}"
    made = Database(server, name)
    with made.session:
        yield made
    server.drop(name)


@pytest.fixture
def database(server: Postgres) -> Iterator[Database]:
    with cloned(server) as made:
        yield made
