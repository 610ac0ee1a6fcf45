"""`nexmdm platform init`: two zones and an admin's key, so that a client can begin."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

from nexmdm.kernel import keys
from nexmdm.kernel.command_error import CommandError
from nexmdm.kernel.database import Database
from nexmdm.kernel.keys import NewKey
from nexmdm.kernel.settings import Settings
from nexmdm.kernel.statements import Statements
from nexmdm.platform.zone_row import within
from nexmdm.platform.zone_views import NewZone
from nexmdm.platform.zones import make_zone

ZONES: Final = ("corp", "corp-eng")
NAME: Final = "platform-admin"
_KNOWN: Final = """
    SELECT name FROM api_keys
    WHERE key_hash = $1 AND revoked_at IS NULL AND role = 'admin' AND (services IS NULL OR 'platform' = ANY (services))
"""
_NAMES: Final = "SELECT name FROM api_keys WHERE name = $1 OR name LIKE $1 || '-%'"


async def init(settings: Settings, file: Path) -> str:
    """Make what is not there yet, and say what was made. A file with a good key stays as it is.

    Raises:
        CommandError: the file cannot be written, and then no key is made.
    """
    db = Database(settings)
    try:
        async with Statements(db, 1) as statements:
            made = [zone for zone in ZONES if await _make(statements, zone)]
            wrote = await _write(statements, settings, file)
    finally:
        await db.aclose()
    zones = f"made {' and '.join(made)}" if made else "the zones were there"
    return f"{zones}; {file} {'has a new key' if wrote else 'has a good key already'}"


async def _make(statements: Statements, zone: str) -> bool:
    async with within(statements, zone) as tx:
        return await make_zone(tx, NewZone(zone_id=zone, name=zone)) is not None


async def _write(statements: Statements, settings: Settings, file: Path) -> bool:
    """Whether the file got a key. It is written before the key is committed: no key is made that nobody has."""
    if (key_hash := _hash_in(file)) and await statements.fetch(_KNOWN, key_hash):
        return False
    async with statements.transaction() as tx:
        taken = {row["name"] for row in await tx.fetch(_NAMES, NAME)}
        name = next(name for name in _candidates() if name not in taken)
        made = await keys.insert(tx, NewKey(name=name, role="admin", services=["platform"]))
        if made is None:
            raise CommandError(f"somebody else is making the key {name}; try again")
        url = settings.public_url or f"http://{settings.host}:{settings.port}"
        try:
            _replace(file, f"NEXUS_URL={url}\nNEXUS_API_KEY={made[0]}\n")
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}") from None
    return True


def _candidates() -> Iterator[str]:
    yield NAME
    yield from (f"{NAME}-{number}" for number in count(2))


def _hash_in(file: Path) -> str | None:
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    given = [line.removeprefix("NEXUS_API_KEY=") for line in lines if line.startswith("NEXUS_API_KEY=")]
    return keys.hash_of(given[0]) if given else None


def _replace(file: Path, text: str) -> None:
    half = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(text)
        half.replace(file)
    except BaseException:
        half.unlink(missing_ok=True)
        raise
