"""Device tokens: how they are made, and whose they are. It knows no HTTP; whether a device is active its row decides.

`nxd_<32 hex of the device id>_<43 characters, 256 random bits><11 characters, 64 bits of a MAC over both>`.

The random part is the secret, and bcrypt of it is the judge: nothing else is stored. The MAC is a ticket to that check.
Only we can make one, so a token that somebody made up costs microseconds, whatever device it names: no statement, no
bcrypt, and no sign of whether there is such a device. Its key is made by the migration and stands in the database
beside the hashes: it lives as long as they do, and no setting can be lost or rotated under a fleet.

A good token is hashed once per process and then known by its SHA-256 digest in a bounded cache. The cache spares
bcrypt and never decides alone: it yields the `token_version` under which the token was good, and every statement of a
device route compares that with the row. So a retired or re-enrolled device is refused on its very next request, by
every worker and replica, with no message between.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from uuid import UUID

from sqlmodel import col, select

from nexmdm.fleet.tables.devices import Device
from nexmdm.kernel.bcrypt_pool import Hashing
from nexmdm.kernel.database import Database
from nexmdm.kernel.lru import LruCache
from nexmdm.kernel.problems import Problem
from nexmdm.kernel.tables import SigningKey

KEY_NAME: Final = "device_token"
_TOKEN: Final = re.compile(r"nxd_([0-9a-f]{32})_([A-Za-z0-9_-]{43})([A-Za-z0-9_-]{11})")


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """A device whose token was good under this version. Only the row says whether it still is."""

    device_id: UUID
    token_version: int
    token_digest: bytes


def mac_suffix(key: bytes, device_id: UUID, secret: str) -> str:
    """The end of a token: 64 bits of HMAC-SHA256 over what stands before."""
    mac = hmac.digest(key, f"{device_id.hex}_{secret}".encode(), "sha256")
    return urlsafe_b64encode(mac[:8]).decode().rstrip("=")


class DeviceTokens:
    """Makes and checks device tokens, with a bounded memory of the good and of the dead ones."""

    def __init__(self, db: Database, hashing: Hashing, size: int) -> None:
        self._db, self._hashing = db, hashing
        self._good: LruCache[bytes, DeviceIdentity] = LruCache(size)
        # A wrong token never becomes a right one: the server mints them. So no entry ever needs to expire.
        self._dead: LruCache[bytes, None] = LruCache(size)
        self._checking: dict[bytes, asyncio.Task[DeviceIdentity | None]] = {}
        self._key: bytes | None = None
        self._reading_key = asyncio.Lock()

    async def generate(self) -> tuple[str, str]:
        """The secret of a new token, and the hash to store. Takes 60 ms of a thread at cost 10.

        Raises:
            Problem: `overloaded` where too many hashes wait.
        """
        await self._mac_key()  # `issue` comes after the commit, where nothing may fail any more
        secret = secrets.token_urlsafe(32)
        with self._hashing.slot():
            return secret, await self._hashing.hash(secret)

    async def issue(self, device_id: UUID, token_version: int, secret: str) -> str:
        """The token of a device that is stored with the hash of `secret`; here it need not be checked again."""
        token = f"nxd_{device_id.hex}_{secret}{mac_suffix(await self._mac_key(), device_id, secret)}"
        digest = sha256(token.encode()).digest()
        self._good.put(digest, DeviceIdentity(device_id, token_version, digest))
        return token

    def forget(self, identity: DeviceIdentity) -> None:
        """Its row says that the token is dead."""
        self._good.pop(identity.token_digest, None)

    def known(self, token: str) -> DeviceIdentity | None:
        """The device of a token that was found good before; without waiting."""
        digest = sha256(token.encode()).digest()
        identity = self._good.get(digest)
        if identity is not None:
            self._good.move_to_end(digest)
        return identity

    async def identify(self, token: str) -> DeviceIdentity | None:
        """The device that the token belongs to, or None. Equal tokens that arrive together are checked once.

        Raises:
            Problem: `overloaded` where the token has to be hashed and too many hashes wait.
        """
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        key = await self._mac_key()
        if known := self.known(token):  # nothing waits from here on, so a check is known or running
            return known
        if not _ours(key, match):
            return None
        digest = sha256(token.encode()).digest()
        if digest in self._dead:
            return None
        check = self._checking.get(digest)
        if check is None:
            check = asyncio.create_task(self._check(UUID(hex=match[1]), match[2], digest))
            self._checking[digest] = check
            check.add_done_callback(lambda _: self._checking.pop(digest, None))
        return await asyncio.shield(check)  # a caller that goes away must not fail the others

    def turned_away(self, token: str) -> Problem | None:
        """The refusal of a token of ours that has to be hashed while too many hashes wait; without waiting."""
        if not self._hashing.full or self._key is None:
            return None
        match = _TOKEN.fullmatch(token)
        if match is None or not _ours(self._key, match):
            return None
        digest = sha256(token.encode()).digest()
        return None if digest in self._dead or digest in self._checking else self._hashing.refuse()

    async def _check(self, device_id: UUID, secret: str, digest: bytes) -> DeviceIdentity | None:
        query = select(Device.token_hash, Device.token_version).where(
            Device.device_id == device_id, col(Device.retired_at).is_(None)
        )
        with self._hashing.slot():
            async with self._db.sessions() as session:
                row = (await session.execute(query)).first()
            if row is None:
                return None
            if not await self._hashing.matches(secret, row.token_hash):
                self._dead.put(digest, None)
                return None
        identity = DeviceIdentity(device_id, row.token_version, digest)
        self._good.put(digest, identity)
        return identity

    async def _mac_key(self) -> bytes:
        if self._key is None:
            async with self._reading_key:  # whoever waited finds it there
                if self._key is None:
                    async with self._db.sessions() as session:
                        query = select(SigningKey.key).where(SigningKey.name == KEY_NAME)
                        self._key = (await session.execute(query)).scalar_one()
        return self._key


def _ours(key: bytes, token: re.Match[str]) -> bool:
    return hmac.compare_digest(mac_suffix(key, UUID(hex=token[1]), token[2]), token[3])
