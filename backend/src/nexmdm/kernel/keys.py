"""API keys: named credentials that an operator makes, lists and revokes, each with a role and the services it opens.

The row decides each time, and no cache beside it, so that a revocation holds at once in every process. The key itself
is shown once; its SHA-256 is stored, which suffices for 256 random bits.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Self

import asyncpg

from nexmdm.kernel import sessions
from nexmdm.kernel.command_error import CommandError
from nexmdm.kernel.database import STATEMENT_TIMEOUT_S
from nexmdm.kernel.statements import Fetches
from nexmdm.kernel.tables import KEY_ROLES

PREFIX: Final = "nxk_"  # tells a key from every other bearer token
_KEY: Final = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

# The row's lock makes a second request wait and look again, so that one of many writes in a minute.
_VERIFY: Final = """
    WITH good AS (
        SELECT name FROM api_keys
        WHERE key_hash = $1 AND revoked_at IS NULL AND role = $2 AND (services IS NULL OR $3 = ANY (services))
    ), used AS (
        UPDATE api_keys AS k SET last_used_at = now() FROM good
        WHERE k.name = good.name AND (k.last_used_at IS NULL OR k.last_used_at <= now() - interval '1 minute')
    )
    SELECT name FROM good
"""
_CREATE: Final = """
    INSERT INTO api_keys (name, role, services, key_hash) VALUES ($1, $2, $3, $4)
    ON CONFLICT (name) DO NOTHING RETURNING *
"""
_LIST: Final = "SELECT * FROM api_keys ORDER BY created_at, name"
_REVOKE: Final = "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE name = $1 RETURNING *"


class KeyRefused(CommandError):
    """A key cannot be made, listed or revoked as asked."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret. `services` None: all of them."""

    name: str
    role: str
    services: list[str] | None
    zone: str | None
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: asyncpg.Record) -> Self:
        """The key of a row, without the hash."""
        return cls(**{column.name: row[column.name] for column in fields(cls)})

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(self).items()
        }


async def verify(database: Fetches, presented: str, role: str, service: str) -> str | None:
    """The name of the key that was presented; None unless it has this role, is good for the service and not revoked.

    It notes the use, at most once a minute. What has not the form of a key costs no statement.
    """
    if _KEY.fullmatch(presented) is None:
        return None
    rows = await database.fetch(_VERIFY, _hash(presented), role, service)
    return rows[0]["name"] if rows else None


async def create(
    url: str,
    name: str,
    role: str,
    services: Collection[str] | None,
    known: Collection[str],
    show: Callable[[str, Key], None],
) -> None:
    """Make a key. `services` None: all of the `known` ones, and later ones.

    `show` gets the key, which cannot be shown again, and its row before the commit: where it raises, no key is made.

    Raises:
        KeyRefused: the name is malformed or taken, even by a revoked key; there is no such role or service.
    """
    if _NAME.fullmatch(name) is None:
        raise KeyRefused("a name is 1 to 64 letters, digits, `.`, `_` and `-`, and begins with a letter or digit")
    if role not in KEY_ROLES:
        raise KeyRefused(f"there is no role {role!r}; there is {', '.join(KEY_ROLES)}")
    if unknown := set(services or ()) - set(known):
        raise KeyRefused(f"there is no service {min(unknown)!r}; there is {', '.join(sorted(known))}")
    key = PREFIX + secrets.token_urlsafe(32)
    of = None if services is None else sorted(set(services))
    async with _session(url) as session, session.transaction():
        row = await session.fetchrow(_CREATE, name, role, of, _hash(key))
        if row is None:
            raise KeyRefused(f"there is already a key {name}, and a name is never given twice")
        show(key, Key.of(row))


async def listing(url: str) -> list[Key]:
    """All keys, the oldest first, revoked ones too."""
    async with _session(url) as session:
        return [Key.of(row) for row in await session.fetch(_LIST)]


async def revoke(url: str, name: str) -> Key:
    """End a key. One that was revoked before keeps its moment.

    Raises:
        KeyRefused: there is no such key.
    """
    async with _session(url) as session:
        row = await session.fetchrow(_REVOKE, name)
    if row is None:
        raise KeyRefused(f"there is no key {name!r}")
    return Key.of(row)


def hash_of(presented: str) -> str | None:
    """The hash by which a statement finds the key; None for what has not the form of one."""
    return _hash(presented) if _KEY.fullmatch(presented) else None


def _hash(key: str) -> str:
    return sha256(key.encode()).hexdigest()


@asynccontextmanager
async def _session(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await sessions.connect(url, STATEMENT_TIMEOUT_S)
    try:
        yield connection
    except asyncpg.UndefinedTableError:
        raise KeyRefused("the database is not migrated: run `nexmdm migrate` first") from None
    finally:
        await connection.close()
