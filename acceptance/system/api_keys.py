"""API keys of a system that the run has started. `nexmdm keys` is a case of its own; the others make theirs by SQL."""

import uuid
from dataclasses import dataclass, field

from acceptance.system.roles import as_owner
from acceptance.system.system import System
from harness.api_keys import Role, insert_key


@dataclass(frozen=True)
class ApiKey:
    name: str
    secret: str = field(repr=False)


def create(system: System, services: list[str] | None = None, *, role: Role = "admin") -> ApiKey:
    """A new key with the longest name, by default for all services, as `nexmdm keys create` stores it."""
    name = f"key-{uuid.uuid4().hex:x<60}"
    url = system.running.owner["NEXMDM_DATABASE_URL"]
    return ApiKey(name, insert_key(url, role, name=name, services=services))


def revoke(system: System, name: str) -> None:
    with as_owner(system) as owner:
        owner.execute("update api_keys set revoked_at = now() where name = %s", [name])
