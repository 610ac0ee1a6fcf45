"""What the kernel's tests share: settings for a database, a stored device. It asserts nothing."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import bcrypt
from pydantic import SecretStr

from nexmdm.fleet.settings import FleetSettings
from nexmdm.platform.settings import PlatformSettings
from nexmdm.sandboxes.settings import SandboxSettings

TOKEN_SECRET = "s" * 43
_TOKEN_HASH = bcrypt.hashpw(TOKEN_SECRET.encode(), bcrypt.gensalt(4)).decode()  # the least cost that bcrypt has


class AllSettings(FleetSettings, SandboxSettings, PlatformSettings):
    """The settings of every service, as the application reads them."""


def settings_for(url: str, **overrides: Any) -> AllSettings:
    secret = SecretStr("0123456789abcdef")
    return AllSettings(database_url=SecretStr(url), admin_key=secret, hmac_secret=secret, **overrides)


async def store_device(connection: asyncpg.Connection[Any], **columns: Any) -> UUID:
    """An active device whose token has TOKEN_SECRET as its random part."""
    device_id = uuid4()
    values = {"device_id": device_id, "alias": f"D-{device_id}", "token_hash": _TOKEN_HASH, "agent_version": "1.0"}
    values |= columns
    places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
    await connection.execute(f"INSERT INTO devices ({', '.join(values)}) VALUES ({places})", *values.values())
    return device_id
