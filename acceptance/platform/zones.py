"""The zones of one system as cases use them: an admin, a fresh zone with a member's key, what is stored of a zone.

Writes rows only to bring about what a case begins with, with the owner's URL.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from acceptance.platform.stores import Folder, store_of
from acceptance.system import api_keys
from acceptance.system.match import accepted
from acceptance.system.roles import as_owner
from acceptance.system.system import System
from harness.api_keys import Role
from harness.http.client import Answer, Client, HttpxTransport
from harness.platform import zone_rows
from harness.platform.rpc import RpcError
from harness.platform.zone import ZONES, Zone
from harness.waiting import eventually

KIB, MIB = 1024, 1024 * 1024
IN_ROW_BYTES = 64 * KIB  # content beyond it lies in the object store
PART_BYTES = 8 * MIB
STEPS = [  # of a deletion
    *("uploads", "files", "mount_changes", "mount_conflicts", "mount_runs", "mount_bases", "mounts"),
    *("agents", "tasks", "events", "objects", "keys"),
]
UNKNOWN_KEY = "nxk_" + "A" * 43
_OBJECTS = "select object_id from objects where zone_id = %s"
_WAITING = """
    select count(*) from objects o where zone_id = %s and pinned_until > clock_timestamp()
        and not exists (select from file_parts p where p.zone_id = o.zone_id and p.object_id = o.object_id)
        and not exists (select from upload_parts p where p.zone_id = o.zone_id and p.object_id = o.object_id)
"""
_COUNTED = "select count(*) as files, coalesce(sum(size), 0)::bigint as bytes from files where zone_id = %s"


def new_zone_id() -> str:
    return f"z-{uuid.uuid4().hex[:20]}"


def denied(zone: Zone, code: int, kind: str, method: str, /, **params: Any) -> RpcError:
    """The error of a call that has to be refused with this number and this machine-readable code."""
    found = error_of(lambda: zone.rpc(method, **params))
    assert (found.code, found.kind) == (code, kind), f"{method}: expected {code} {kind}, got {found}"
    return found


def error_of(call: Callable[[], Any]) -> RpcError:
    """The error that a call ends with."""
    try:
        result = call()
    except RpcError as error:
        return error
    raise AssertionError(f"expected an error, got the result {str(result)[:300]}")


class Platform:
    """The zones of a system and its admin. One per system: the admin's key is made once."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.store = store_of(system)
        self.admin_key = self.key("admin")

    # --- callers ---

    def key(
        self, role: Role, zone_id: str | None = None, subject: str | None = None, *, services: list[str] | None = None
    ) -> str:
        """A new key whose use shows in no digest."""
        return self.named_key(role, zone_id, subject, services=services).secret

    def named_key(
        self, role: Role, zone_id: str | None = None, subject: str | None = None, *, services: list[str] | None = None
    ) -> api_keys.ApiKey:
        """The same, with its name."""
        key = api_keys.create(self.system, services, role=role, zone=zone_id, subject=subject)
        api_keys.noted(self.system, key.name)
        return key

    def admin(self, method: str, path: str, **request: Any) -> Answer:
        """A request of the admin."""
        return self.system.api.bearer(self.admin_key, method, path, **request)

    def create(self, zone_id: str | None = None, **fields: Any) -> Answer:
        """Make a zone. fields: limits, owner, ..."""
        return self.admin("POST", ZONES, json={"zone_id": zone_id or new_zone_id(), "name": "a zone", **fields})

    def zone(self, zone_id: str | None = None, *, limits: dict[str, Any] | None = None, **fields: Any) -> Zone:
        """A new zone as a member of it sees it. limits: by their names."""
        more = {} if limits is None else {"limits": limits}
        made = accepted(self.create(zone_id, **more, **fields), 201)
        return self.member(made["zone_id"])

    def member(self, zone_id: str) -> Zone:
        """A zone as another member of it sees it."""
        return Zone(self.system.api, self.key("member", zone_id), zone_id)

    def agent(self, zone_id: str, agent_id: str) -> Zone:
        """A zone as an agent of it sees it."""
        return Zone(self.system.api, self.key("agent", zone_id, agent_id), zone_id)

    @contextmanager
    def apart(self, zone: Zone) -> Iterator[Zone]:
        """The same view past what judges every answer: for what is outside the contract, or ends with the service."""
        transport = HttpxTransport(self.system.target.base_url)
        try:
            yield Zone(Client(transport), zone.key, zone.zone_id)
        finally:
            transport.close()

    def as_admin(self, zone_id: str) -> Zone:
        """A zone as the admin sees it who chooses it."""
        return Zone(self.system.api, self.admin_key, zone_id, headers=[("X-Nexus-Zone-ID", zone_id)])

    # --- what is stored ---

    def tables(self) -> list[str]:
        """Every table with a zone_id."""
        return [row["name"] for row in self.system.db.rows(zone_rows.TABLES)]

    def rows(self, zone_id: str) -> dict[str, int]:
        """How many rows each table with a zone_id has of a zone, without those that have none."""
        return zone_rows.counts(self.tables(), lambda sql: self.system.db.value(sql, zone_id))

    def folder(self, zone_id: str) -> Folder:
        """Where the objects of a zone lie."""
        return self.store.zone(str(self.system.db.value("select uid from zones where zone_id = %s", zone_id)))

    def objects(self, folder: Folder | None = None) -> list[str]:
        """Every object below a folder, by default of all zones, and whatever else lies there."""
        return (folder or self.store).names()

    def counted(self, zone_id: str) -> dict[str, int]:
        """Files and their bytes as the rows have them."""
        return self.system.db.row(_COUNTED, zone_id)

    def holder(self, upload_id: str) -> uuid.UUID | None:
        """The request that has the upload."""
        found: uuid.UUID | None = self.system.db.value("select holder from uploads where upload_id = %s", upload_id)
        return found

    def held(self, upload_id: str, before: uuid.UUID | None = None) -> None:
        """Return when a request has the upload, another one than before."""
        eventually(lambda: self.holder(upload_id) not in (None, before), within_s=5.0)

    def reserved(self, zone_id: str) -> int:
        """How many bytes uploads that are not finished hold back."""
        held: int = self.system.db.value("select reserved_bytes from zones where zone_id = %s", zone_id)
        return held

    def adds_up(self, zone_id: str) -> None:
        """What the zone says that it uses is what its rows add up to."""
        usage = accepted(self.admin("GET", f"{ZONES}/{zone_id}"))["usage"]
        rows = self.counted(zone_id)
        assert (usage["max_files"], usage["max_storage_bytes"]) == (rows["files"], rows["bytes"])

    def loses_nothing(self, zone_id: str) -> None:
        """Each object of the zone has its row, and one that no file has is to be swept: its pin is over."""
        held = {str(row["object_id"]) for row in self.system.db.rows(_OBJECTS, zone_id)}
        assert {Path(path).name for path in self.objects(self.folder(zone_id))} == held
        assert self.system.db.value(_WAITING, zone_id) == 0

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Fails when any row of any table, or any object, is another after the block."""
        before = self.objects()
        with self.system.db.unchanged():
            yield
        assert self.objects() == before

    def write(self, statement: str, **values: Any) -> None:
        """A statement of the owner, for what no request brings about."""
        with as_owner(self.system) as owner:
            owner.execute(statement.encode(), values)

    # --- the end of a zone ---

    def gone(self, zone_id: str, within_s: float = 10.0) -> None:
        """Return when a zone that is being deleted is no more."""

        def is_gone() -> bool:
            answer = self.admin("GET", f"{ZONES}/{zone_id}")
            assert answer.status == 404, answer.body
            return True

        eventually(is_gone, within_s, what="the end of the zone")

    def remove(self, zone_id: str) -> None:
        """Delete a zone and wait for its end."""
        accepted(self.admin("DELETE", f"{ZONES}/{zone_id}"), 202)
        self.gone(zone_id)
