"""A fleet put into the database at once: enrolling 100,000 devices over HTTP would cost an hour and a half of bcrypt.

All devices of a fleet share one secret of the lowest bcrypt cost, so that the backend can check it in a millisecond;
everything else of their rows is as registration makes it. It is for load alone: what registration does is judged where
devices really register.
"""

from __future__ import annotations

import base64
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


def _device_id() -> uuid.UUID:
    """Version 7 (RFC 9562), as the server makes them: its log schemas take no other."""
    at_ms = time.time_ns() // 1_000_000
    return uuid.UUID(int=at_ms << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62))


def device_token(ticket_key: bytes, device_id: uuid.UUID, secret: str) -> str:
    """A token as registration makes it: its last 11 characters are a MAC over the rest, under the database's key."""
    mac = hmac.digest(ticket_key, f"{device_id.hex}_{secret}".encode(), "sha256")[:8]
    return f"nxd_{device_id.hex}_{secret}{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def seed(database_url: str, count: int, cost: int = _COST) -> list[FleetDevice]:
    """Insert `count` active devices. psycopg.Error when the database does not take them."""
    run = f"{int(time.time()):08x}{secrets.token_hex(2)}"
    secret = secrets.token_urlsafe(32)
    SECRETS.add(secret)
    hashed = bcrypt.hashpw(secret.encode(), bcrypt.gensalt(cost)).decode()
    devices = []
    with psycopg.connect(database_url, connect_timeout=10) as connection, connection.cursor() as cursor:
        [(key,)] = cursor.execute("select key from signing_keys where name = 'device_token'").fetchall()
        for number in range(count):
            device_id = _device_id()
            token = device_token(key, device_id, secret)
            devices.append(FleetDevice(str(device_id), f"F{number:06d}-{run}", token, f"fleet:{run}:{number:06d}"))
        columns = "device_id, alias, token_hash, agent_version, fcm_token"
        with cursor.copy(f"COPY devices ({columns}) FROM STDIN") as copy:
            for device in devices:
                copy.write_row((device.device_id, device.alias, hashed, "1.4.2", device.fcm_token))
    return devices
