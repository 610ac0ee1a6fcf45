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


def create(
    system: System,
    services: list[str] | None = None,
    *,
    role: Role = "admin",
    zone: str | None = None,
    subject: str | None = None,
) -> ApiKey:
    """A new key with the longest name, by default for all services, as `nexmdm keys create` stores it."""
    name = f"key-{uuid.uuid4().hex:x<60}"
    url = system.running.owner["NEXMDM_DATABASE_URL"]
    return ApiKey(name, insert_key(url, role, name=name, services=services, zone=zone, subject=subject))


def noted(system: System, name: str) -> None:
    """Let the next note of its use be far away: no digest shows one."""
    with as_owner(system) as owner:
        owner.execute("update api_keys set last_used_at = now() + interval '1 day' where name = %s", [name])


def revoke(system: System, name: str) -> None:
    with as_owner(system) as owner:
        owner.execute("update api_keys set revoked_at = now() where name = %s", [name])
