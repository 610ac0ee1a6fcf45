"""API keys made by SQL, for suites that hold a database URL and no command of the backend."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import Literal

import psycopg
from psycopg import sql

from harness.settings import SECRETS

Role = Literal["track", "admin", "member", "agent"]


def insert_key(
    database_url: str,
    role: Role,
    secret: str = "",
    *,
    name: str = "",
    services: Sequence[str] | None = None,
    zone: str | None = None,
    subject: str | None = None,
) -> str:
    """A new key, stored as `nexmdm keys create` does; its secret. psycopg.Error.

    secret, name: drawn where none is given; services: None: all; zone, subject: of a member or an agent.
    """
    secret = secret or f"nxk_{secrets.token_urlsafe(32)}"
    SECRETS.add(secret)
    stored = hashlib.sha256(secret.encode()).hexdigest()
    named = name or f"load-{secrets.token_hex(8)}"
    values = {"name": named, "role": role, "services": None if services is None else list(services), "key_hash": stored}
    # Other revisions of the service have keys without these.
    values |= {name: value for name, value in (("zone", zone), ("subject", subject)) if value is not None}
    named_columns = sql.SQL(", ").join(map(sql.Identifier, values))
    marks = sql.SQL(", ").join(map(sql.Placeholder, values))
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        connection.execute(sql.SQL("insert into api_keys ({}) values ({})").format(named_columns, marks), values)
    return secret


def delete_keys_of_zone(database_url: str, zone: str) -> None:
    """Take away every key that was made for the zone, by whomever. psycopg.Error."""
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        connection.execute("delete from api_keys where zone = %s", [zone])


def delete_key(database_url: str, secret: str) -> None:
    """Take it away again. psycopg.Error."""
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        connection.execute("delete from api_keys where key_hash = %s", [hashlib.sha256(secret.encode()).hexdigest()])
