"""API keys of a system that the run has started. `nexmdm keys` is a case of its own; the others make theirs by SQL."""

import hashlib
import secrets
import uuid
from dataclasses import dataclass, field

from acceptance.system.roles import as_owner
from acceptance.system.system import System
from harness.settings import SECRETS


@dataclass(frozen=True)
class ApiKey:
    name: str
    secret: str = field(repr=False)


def create(system: System, services: list[str] | None = None, *, role: str = "admin") -> ApiKey:
    """A new key with the longest name, by default for all services, as `nexmdm keys create` stores it."""
    key = ApiKey(f"key-{uuid.uuid4().hex:x<60}", f"nxk_{secrets.token_urlsafe(32)}")
    SECRETS.add(key.secret)
    with as_owner(system) as owner:
        owner.execute(
            "insert into api_keys (name, role, services, key_hash) values (%s, %s, %s, %s)",
            [key.name, role, services, hashlib.sha256(key.secret.encode()).hexdigest()],
        )
    return key


def revoke(system: System, name: str) -> None:
    with as_owner(system) as owner:
        owner.execute("update api_keys set revoked_at = now() where name = %s", [name])
