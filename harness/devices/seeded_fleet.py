"""A fleet put into the database at once: enrolling 100,000 devices over HTTP would cost an hour and a half of bcrypt.

All devices of a fleet share one secret of the lowest bcrypt cost, so that the backend can check it in a millisecond;
everything else of their rows is as registration makes it. It is for load alone: what registration does is judged where
devices really register.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
import uuid
from dataclasses import dataclass

import bcrypt
import psycopg

from harness.settings import SECRETS

_COST = 4


@dataclass(frozen=True, slots=True)
class FleetDevice:
    """One device: what it presents, and where its messages go."""

    device_id: str
    alias: str
    token: str
    fcm_token: str


def device_token(ticket_key: bytes, device_id: uuid.UUID, secret: str) -> str:
    """A token as registration makes it: its last 11 characters are a MAC over the rest, under the database's key."""
    mac = hmac.digest(ticket_key, f"{device_id.hex}_{secret}".encode(), "sha256")[:8]
    return f"nxd_{device_id.hex}_{secret}{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


class Fleet:
    """Devices that are derived from a name: all processes that have the database's key make the same ones.

    The name must be new to the deployment. Their secret follows from key and name, so that neither tells it.
    """

    def __init__(self, key: bytes, name: str, at_ms: int) -> None:
        """at_ms: when they are made, milliseconds since the epoch: a part of their ids."""
        self._key, self._name, self._at_ms = key, name, at_ms
        self.secret = base64.urlsafe_b64encode(hmac.digest(key, f"fleet {name}".encode(), "sha256")).decode()[:43]
        SECRETS.add(self.secret)

    def device(self, number: int) -> FleetDevice:
        """The device of this number, from 0 on."""
        device_id = self._device_id(number)
        token = device_token(self._key, device_id, self.secret)
        fcm_token = f"fleet:{self._name}:{number:06d}"
        return FleetDevice(str(device_id), f"F{number:06d}-{self._name}", token, fcm_token)

    def token(self, number: int) -> str:
        """Its device token alone."""
        return device_token(self._key, self._device_id(number), self.secret)

    def _device_id(self, number: int) -> uuid.UUID:
        """Version 7 (RFC 9562), as the server makes them: its log schemas take no other."""
        drawn = int.from_bytes(hashlib.blake2b(f"{self._name} {number}".encode(), digest_size=10).digest())
        low = drawn & (1 << 62) - 1
        return uuid.UUID(int=self._at_ms << 80 | 7 << 76 | (drawn >> 62 & 0xFFF) << 64 | 2 << 62 | low)

    def insert(self, database_url: str, count: int, cost: int = _COST) -> list[FleetDevice]:
        """Put the first `count` into the database, active. psycopg.Error when it does not take them."""
        hashed = bcrypt.hashpw(self.secret.encode(), bcrypt.gensalt(cost)).decode()
        devices = [self.device(number) for number in range(count)]
        columns = "device_id, alias, token_hash, agent_version, fcm_token"
        with (
            psycopg.connect(database_url, connect_timeout=10) as connection,
            connection.cursor().copy(f"COPY devices ({columns}) FROM STDIN") as copy,
        ):
            for device in devices:
                copy.write_row((device.device_id, device.alias, hashed, "1.4.2", device.fcm_token))
        return devices


def read_key(database_url: str) -> bytes:
    """The database's key of device tokens. psycopg.Error."""
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        [(key,)] = connection.execute("select key from signing_keys where name = 'device_token'").fetchall()
        return bytes(key)


def seed(database_url: str, count: int, cost: int = _COST) -> list[FleetDevice]:
    """Insert a fleet of a name of its own. psycopg.Error when the database does not take it."""
    name = f"{int(time.time()):08x}{secrets.token_hex(2)}"
    return Fleet(read_key(database_url), name, time.time_ns() // 1_000_000).insert(database_url, count, cost)
