"""API keys made by SQL, for clients of the broker that hold a database URL and no command of the backend."""

from __future__ import annotations

import hashlib
import secrets
from typing import Literal

import psycopg

from harness.settings import SECRETS

Role = Literal["track", "admin"]


def insert_key(database_url: str, role: Role, secret: str = "") -> str:
    """A new key for all services, stored as `nexmdm keys create` does; its secret. psycopg.Error."""
    secret = secret or f"nxk_{secrets.token_urlsafe(32)}"
    SECRETS.add(secret)
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        connection.execute(
            "insert into api_keys (name, role, key_hash) values (%s, %s, %s)",
            [f"load-{secrets.token_hex(8)}", role, hashlib.sha256(secret.encode()).hexdigest()],
        )
    return secret


def delete_key(database_url: str, secret: str) -> None:
    """Take it away again. psycopg.Error."""
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        connection.execute("delete from api_keys where key_hash = %s", [hashlib.sha256(secret.encode()).hexdigest()])
