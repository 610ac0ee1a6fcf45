"""API keys: named credentials that an operator makes, lists and revokes, each with a role and the services it opens.

The row decides each time, and no cache beside it, so that a revocation holds at once in every process. The key itself
is shown once; its SHA-256 is stored, which suffices for 256 random bits.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
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
from nexmdm.kernel.tables import KEY_ROLES, ZONED_ROLES

PREFIX: Final = "nxk_"  # tells a key from every other bearer token
_KEY: Final = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")
_SUBJECT: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

# WITH queries that judge a key ($1: its hash, $2: the service, $3: roles) as `good`, and note its use. The row's lock
# makes a second request wait and look again, so that one of many writes in a minute.
JUDGED: Final = """
    good AS (
        SELECT name, role, zone, subject FROM api_keys
        WHERE key_hash = $1 AND revoked_at IS NULL AND (services IS NULL OR $2 = ANY (services)) AND role = ANY ($3)
    ), used AS (
        UPDATE api_keys AS k SET last_used_at = now() FROM good
        WHERE k.name = good.name AND (k.last_used_at IS NULL OR k.last_used_at <= now() - interval '1 minute')
    )
"""
_VERIFY: Final = f"WITH {JUDGED} SELECT name FROM good"  # noqa: S608 - composed of the constant above
_CREATE: Final = """
    INSERT INTO api_keys (name, role, services, zone, subject, key_hash) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (name) DO NOTHING RETURNING *
"""
_LIST: Final = "SELECT * FROM api_keys ORDER BY created_at, name"
# A trigger keeps the moment of the first.
_REVOKE: Final = "UPDATE api_keys SET revoked_at = now() WHERE name = $1 RETURNING *"


class KeyRefused(CommandError):
    """A key cannot be made, listed or revoked as asked."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret. `services` None: all of them."""

    name: str
    role: str
    services: list[str] | None
    zone: str | None
    subject: str | None
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: asyncpg.Record) -> Self:
        """The key of a row, without the hash."""
        return cls(**{column.name: row[column.name] for column in fields(cls)})

    def fields(self) -> dict[str, Any]:
        """By name."""
        return asdict(self)

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in self.fields().items()
        }


async def verify(database: Fetches, presented: str, role: str, service: str) -> str | None:
    """The name of the key that was presented; None unless it has this role, is good for the service and not revoked.

    It notes the use, at most once a minute. What has not the form of a key costs no statement.
    """
    if _KEY.fullmatch(presented) is None:
        return None
    rows = await database.fetch(_VERIFY, _hash(presented), service, [role])
    return rows[0]["name"] if rows else None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key to be made. `services` None: all of them, and later ones. An agent's `subject` is its name by default."""

    name: str
    role: str
    services: Collection[str] | None = None
    zone: str | None = None
    subject: str | None = None

    def check(self, known: Collection[str]) -> None:
        """KeyRefused where no such key can be; `known`: the names of all services."""
        if _NAME.fullmatch(self.name) is None:
            raise KeyRefused("a name is 1 to 64 letters, digits, `.`, `_` and `-`, and begins with a letter or digit")
        if self.role not in KEY_ROLES:
            raise KeyRefused(f"there is no role {self.role!r}; there is {', '.join(KEY_ROLES)}")
        if unknown := set(self.services or ()) - set(known):
            raise KeyRefused(f"there is no service {min(unknown)!r}; there is {', '.join(sorted(known))}")
        if (self.role in ZONED_ROLES) != (self.zone is not None):
            raise KeyRefused(f"a zone belongs to the roles {' and '.join(ZONED_ROLES)}, and to no other")
        if self.subject is not None and (self.role != "agent" or _SUBJECT.fullmatch(self.subject) is None):
            raise KeyRefused("a subject is an agent's: 1 to 128 letters, digits, `.`, `_`, `:` and `-`")


async def create(
    url: str,
    new: NewKey,
    known: Collection[str],
    show: Callable[[str, Key], None],
    check: Callable[[asyncpg.Connection[Any]], Awaitable[None]] | None = None,
) -> None:
    """Make a key. `check` runs first, in the same transaction; `known`: the names of all services.

    `show` gets the key, which cannot be shown again, and its row before the commit: where it raises, no key is made.

    Raises:
        KeyRefused: the name is malformed or taken, even by a revoked key; there is no such role, service or zone.
    """
    new.check(known)
    async with _session(url) as session, session.transaction():
        if check is not None:
            await check(session)
        made = await insert(session, new)
        if made is None:
            raise KeyRefused(f"there is already a key {new.name}, and a name is never given twice")
        show(*made)


async def insert(session: asyncpg.Connection[Any], new: NewKey) -> tuple[str, Key] | None:
    """The key and its row, stored in the caller's transaction; None where the name is taken."""
    key = PREFIX + secrets.token_urlsafe(32)
    services = None if new.services is None else sorted(set(new.services))
    subject = (new.subject or new.name) if new.role == "agent" else None
    row = await session.fetchrow(_CREATE, new.name, new.role, services, new.zone, subject, _hash(key))
    return None if row is None else (key, Key.of(row))


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
        row = await end(session, name)
    if row is None:
        raise KeyRefused(f"there is no key {name!r}")
    return row


async def end(session: Fetches | asyncpg.Connection[Any], name: str) -> Key | None:
    """Revoke a key; None where there is none of this name."""
    rows = await session.fetch(_REVOKE, name)
    return Key.of(rows[0]) if rows else None


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
