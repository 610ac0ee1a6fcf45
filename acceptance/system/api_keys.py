"""API keys of a system that the run has started, as an operator makes and revokes them: `nexmdm keys`."""

import json
import uuid
from dataclasses import dataclass, field
from typing import Any

from acceptance.system.system import System
from harness.settings import SECRETS


@dataclass(frozen=True)
class ApiKey:
    name: str
    secret: str = field(repr=False)


def command(system: System, *arguments: str) -> tuple[int, str]:
    """Exit code and output of `nexmdm keys ARGUMENTS`, run as the owner of the database."""
    return system.running.run("keys", *arguments, env=system.running.owner)


def create(system: System, *options: str) -> ApiKey:
    """A new key of role admin, by default for all services."""
    made = _printed(system, "create", f"key-{uuid.uuid4().hex[:12]}", "--role", "admin", *options)
    SECRETS.add(made["key"])
    return ApiKey(made["name"], made["key"])


def revoke(system: System, name: str) -> None:
    _printed(system, "revoke", name)


def _printed(system: System, *arguments: str) -> Any:
    code, said = command(system, *arguments)
    assert code == 0, SECRETS.mask(said)
    return json.loads(said)
