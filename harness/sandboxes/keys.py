"""API keys made by SQL, for clients of the broker that hold a database URL and no command of the backend."""

from __future__ import annotations

import hashlib
import secrets
from typing import Literal

import psycopg

from harness.settings import SECRETS


def insert_key(database_url: str, role: Literal["track", "admin"]) -> str:
    """A new key for all services, stored as `nexmdm keys create` does; its secret. psycopg.Error."""
    secret = f"nxk_{secrets.token_urlsafe(32)}"
    SECRETS.add(secret)
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        connection.execute(
            "insert into api_keys (name, role, key_hash) values (%s, %s, %s)",
            [f"load-{secrets.token_hex(8)}", role, hashlib.sha256(secret.encode()).hexdigest()],
        )
    return secret
