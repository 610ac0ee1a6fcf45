"""One server for the tests of the audit, and a book for each."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from harness.postgres.server import Postgres
from harness.tests.oracles.book import TABLES, Book


@pytest.fixture(scope="package")
def server() -> Iterator[Postgres]:
    def make(url: str) -> None:
        with psycopg.connect(url) as connection:
            connection.execute(TABLES)

    with Postgres.start() as started:
        started.template(make)
        yield started


@pytest.fixture
def book(server: Postgres) -> Book:
    return Book(server)
