"""The problem types of operations."""

from typing import Final

from nexmdm.kernel.problems import ProblemType

MIGRATIONS_PENDING: Final = ProblemType(
    "migrations_pending", 503, "The database schema is not at the expected revision"
)
