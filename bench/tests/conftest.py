"""The server that generators are tried on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.tests.test_flood import Server


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()
