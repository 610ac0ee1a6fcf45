"""Zones put into the database under a run's label, each with a member's key, and taken out again with all they hold.

The URL is that of the tables' owner, whom row-level security does not hold for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, LiteralString

import psycopg
from psycopg import sql

from harness.api_keys import insert_key

_ZONE: Final = "INSERT INTO zones (zone_id, name) VALUES (%(zone_id)s, %(zone_id)s)"
_AGENT: Final = """
    INSERT INTO agents (zone_id, agent_id, user_id, name, state, generation, connected_at)
    SELECT %(zone_id)s, id, 'load', id, 'CONNECTED', 1, now() FROM unnest(%(ids)s::text[]) AS id
"""
_COUNTED: Final = "UPDATE zones SET agents = cardinality(%(ids)s::text[]) WHERE zone_id = %(zone_id)s"
# In this order, against the foreign keys.
_REMOVE: Final = (
    "DELETE FROM api_keys WHERE zone = %(zone_id)s",
    "DELETE FROM events WHERE zone_id = %(zone_id)s",
    "DELETE FROM tasks WHERE zone_id = %(zone_id)s",
    "DELETE FROM agents WHERE zone_id = %(zone_id)s",
    "DELETE FROM uploads WHERE zone_id = %(zone_id)s",
    "DELETE FROM files WHERE zone_id = %(zone_id)s",
    "DELETE FROM objects WHERE zone_id = %(zone_id)s",
    "DELETE FROM zones WHERE zone_id = %(zone_id)s",
)


def zone_id(label: str, number: int) -> str:
    """Of a label's zone. label: lower-case letters and digits."""
    return f"load-{label}-{number}"


def seed(database_url: str, label: str, keys: Sequence[str]) -> None:
    """Add a zone for each of these keys of members, numbered from 0 on. psycopg.Error: also where one is there."""
    ids = [zone_id(label, number) for number in range(len(keys))]
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        for one in ids:
            connection.execute(_ZONE, {"zone_id": one})
    for one, key in zip(ids, keys, strict=True):
        insert_key(database_url, "member", key, name=one, zone=one)


def agent_id(number: int) -> str:
    """Of an agent of a label."""
    return f"agent-{number}"


def seed_agents(database_url: str, label: str, zones: int, count: int) -> None:
    """Add so many connected agents to zones that were seeded, in turns: agent n to zone n % zones. psycopg.Error."""
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        for zone in range(zones):
            given = {"zone_id": zone_id(label, zone), "ids": [agent_id(one) for one in range(zone, count, zones)]}
            connection.execute(_AGENT, given)
            connection.execute(_COUNTED, given)


def fill(database_url: str, statements: Sequence[LiteralString], table: LiteralString, **given: object) -> None:
    """Run statements with the same values in one transaction, then vacuum and analyse the table. psycopg.Error."""
    with psycopg.connect(database_url, connect_timeout=10, autocommit=True) as connection:
        with connection.transaction():
            for statement in statements:
                connection.execute(statement, given)
        connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(table)))


def remove(database_url: str, label: str, count: int) -> None:
    """Remove so many zones of the label, from number 0 on, and everything in them. psycopg.Error."""
    with psycopg.connect(database_url, connect_timeout=10, autocommit=True) as connection:
        for number in range(count):
            with connection.transaction():
                for statement in _REMOVE:
                    connection.execute(statement, {"zone_id": zone_id(label, number)})
