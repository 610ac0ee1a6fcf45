"""A real database of the service, as the tests of the sandboxes have it."""

from harness.tests.sandboxes.conftest import database, server

__all__ = ["database", "server"]
