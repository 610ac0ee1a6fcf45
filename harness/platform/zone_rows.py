"""What the tables hold of a zone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, LiteralString

TABLES: Final[LiteralString] = """
    SELECT c.oid::regclass::text AS name FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE a.attname = 'zone_id' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND c.relnamespace = 'public'::regnamespace
    ORDER BY 1
"""  # every table with a zone_id


def counts(tables: Iterable[str], count: Callable[[str], int]) -> dict[str, int]:
    """How many rows each table has of a zone, without those that have none. count: runs SQL with a zone's id as %s."""
    found = {table: count(f"SELECT count(*) FROM {table} WHERE zone_id = %s") for table in tables}  # noqa: S608
    return {table: rows for table, rows in found.items() if rows}
