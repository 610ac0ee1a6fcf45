"""What a valid request needs to exist first: devices, tokens, dispatches, builds; made on demand over HTTP.

API keys no request makes: they are written into the database, as its owner; so are free sandboxes, which the fake
provider of the target lists, so that a sync finds nothing amiss. It judges no answer of
the service under test: where it cannot make what it should it raises WorldBroken, and the run is inconclusive. It
deletes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import psycopg

from harness.api_keys import Role, insert_key
from harness.devices.apk import MEDIA_TYPE, apk
from harness.http.client import Answer, Client
from harness.http.transport import HttpxTransport
from harness.provider.server import ProviderControl
from harness.settings import SECRETS, Target

POOL_PREFIX: Final = "contract-"
PACKAGE_NAME: Final = "com.example.app"
_TOKEN_USES: Final = 1000
_STOCK: Final = 300  # free sandboxes that are added at a time: each sync reads them all
_FREE: Final = """
    insert into sandboxes (sandbox_id, external_id, name, status, made_available_at)
    select *, 'available', now() from unnest(%s::text[], %s::text[], %s::text[])
    on conflict do nothing
"""
# Found by no delivery: these are made in mounts that can only be read.
_CONFLICT: Final = """
    with mount as (
        select zone_id, mount_id, mount_point, %s as path from mounts where zone_id = %s and mount_point = %s
    ), change as (
        insert into mount_changes (zone_id, mount_id, path, kind) select zone_id, mount_id, path, 'delete' from mount)
    insert into mount_conflicts (zone_id, mount_id, mount_point, path, conflict_id)
    select zone_id, mount_id, mount_point, path, %s::uuid from mount
"""
_NOTHING_S: Final = "contract"
_BRICK: Final = "insert into bricks (name) values (%s) on conflict do nothing"
# Its allocation was forgotten long ago, so that the ledger need not know it.
_UNDELETABLE: Final = """
    insert into sandboxes (sandbox_id, external_id, name, status, first_allocated_at)
    values (%s, %s, 'undeletable', 'deletion_failed', now() - interval '1 year')
"""


class WorldBroken(Exception):
    """Something that every run needs could not be made. One line."""


@dataclass(frozen=True)
class Enrolled:
    """A registered device and its bearer token."""

    device_id: str
    token: str
    alias: str


class World:
    """Makes things as an admin would. Its aliases begin with POOL_PREFIX and a run's own tag."""

    def __init__(self, target: Target) -> None:
        SECRETS.add(target.admin_key, target.hmac_secret)
        self._transport = HttpxTransport(target.base_url)
        self.client = Client(self._transport, target.admin_key, target.hmac_secret)
        self.tag = secrets.token_hex(4)
        self._count = itertools.count(1)
        self._database_url = target.database_url
        self._provider = ProviderControl(target.provider_control_url) if target.provider_control_url else None
        self._left = 0  # of the free sandboxes

    def close(self) -> None:
        self._transport.close()

    def alias(self) -> str:
        return f"{POOL_PREFIX}{self.tag}-{next(self._count)}"

    def enrol_token(self, alias: str | None = None, *, scope: str = "register", uses: int = 1) -> dict[str, Any]:
        """The item of the answer: token_id, alias, token, ..."""
        body = {"aliases": [alias or self.alias()], "scope": scope, "uses_allowed": uses, "expires_in_s": 86400}
        item: dict[str, Any] = self.made(self.client.admin("POST", "/v1/enroll-tokens", json=body))["tokens"][0]
        return item

    def device(self) -> Enrolled:
        alias = self.alias()
        token = self.enrol_token(alias)["token"]
        facts = {"agent_version": "1.0.0", "fcm_token": f"contract:{secrets.token_hex(16)}"}
        made = self.made(self.client.bearer(token, "POST", "/v1/register", json=facts))
        return Enrolled(made["device_id"], made["device_token"], alias)

    def dispatch(self, device: Enrolled) -> str:
        """The request_id of a fresh ping to the device."""
        body = {"device_id": device.device_id, "action": "ping", "request_id": f"contract-{secrets.token_hex(8)}"}
        request_id: str = self.made(self.client.command(body))["dispatches"][0]["request_id"]
        return request_id

    def build(self, build_type: str = "release", package_name: str = PACKAGE_NAME) -> dict[str, Any]:
        query = {
            "package_name": package_name,
            "build_type": build_type,
            "version_code": 1 + secrets.randbelow(2_100_000_000),
            "version_name": "1.0.0",
        }
        headers = {"Content-Type": MEDIA_TYPE}
        answer = self.client.admin("POST", "/v1/apk/builds", params=query, content=apk(), headers=headers)
        return self.made(answer)

    def api_key(self, role: Role) -> str:
        """A new key, stored as `nexmdm keys create` does."""
        with self._owner() as url:
            return insert_key(url, role, name=f"{POOL_PREFIX}{self.tag}-{role}")

    def stock(self) -> None:
        """One more sandbox will be taken: see that there is one."""
        self._left -= 1
        if self._left < 0:
            if self._provider is None:
                raise WorldBroken("NEXMDM_PROVIDER_CONTROL_URL: not given")
            # Listed first: a sync that makes them itself has done our work, one that misses them would undo it.
            accounts = self._provider.add(_STOCK)
            columns = [[str(account[name]) for account in accounts] for name in ("csp_id", "id", "name")]
            self._write(_FREE, *columns)
            self._left = _STOCK - 1

    def sandbox(self, key: str, track: dict[str, str]) -> str:
        """The id of the sandbox that the track gets; track: the header that names it."""
        self.stock()
        answer = self.client.bearer(key, "POST", "/v1/allocate", headers=track)
        return str(self.made(answer)["sandbox_id"])

    def undeletable(self) -> str:
        """The id of a sandbox whose deletion was given up."""
        sandbox_id = f"{POOL_PREFIX}{self.tag}-undeletable-{next(self._count)}"
        self._write(_UNDELETABLE, sandbox_id, sandbox_id)
        return sandbox_id

    def conflict(self, zone_id: str, mount_point: str, path: str) -> str:
        """The id of a new conflict of a mount."""
        conflict_id = str(uuid.uuid4())
        self._write(_CONFLICT, path, zone_id, mount_point, conflict_id)
        return conflict_id

    def brick(self) -> str:
        """The name of a part of the platform that no operation belongs to: it may be unmounted at any time."""
        self._write(_BRICK, _NOTHING_S)
        return _NOTHING_S

    def cursor(self, path: str, key: str | None = None) -> str | None:
        """A cursor that the list at `path` gave out; None where the list fits on one page. key: instead of X-Admin."""
        query = {"limit": 1}
        ask = self.client.admin if key is None else partial(self.client.bearer, key)
        page = self.made(ask("GET", path, params=query))
        cursor: str | None = page["next_cursor"]
        return cursor

    def _write(self, statement: str, *values: object) -> None:
        with self._owner() as url, psycopg.connect(url, autocommit=True) as owner:
            owner.execute(statement.encode(), values)

    @contextlib.contextmanager
    def _owner(self) -> Iterator[str]:
        """Where to write. WorldBroken where that fails in the block."""
        try:
            yield self._database_url or ""
        except psycopg.Error as error:
            raise WorldBroken(f"DATABASE_URL: {type(error).__name__}: is it the owner's?") from None

    def made(self, answer: Answer) -> dict[str, Any]:
        """The body of an answer that has to be a 2xx."""
        if not 200 <= answer.status < 300:
            sent = self.client.exchanges[-1]
            said = SECRETS.mask(answer.body[:200].decode("utf-8", "replace"))
            raise WorldBroken(f"{sent.method} {sent.path} answered {answer.status}: {said}")
        made: dict[str, Any] = answer.json()
        return made


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
