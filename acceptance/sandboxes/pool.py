"""The pool of one system as cases use it: sandboxes to give out, students who ask, an admin.

Writes rows only to bring about what a case begins with, with the owner's URL.
"""

import json
import uuid
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from acceptance.system import api_keys
from acceptance.system.match import accepted
from acceptance.system.roles import as_owner
from acceptance.system.system import System
from harness.api_keys import Role
from harness.http.client import Answer
from harness.waiting import eventually

ACCOUNTS = "identity/accounts/"
_SEED = """
    insert into sandboxes (sandbox_id, external_id, name, status, made_available_at)
    values (%s, %s, %s, 'available', clock_timestamp())
"""
_GIVE_UP = """
    update sandboxes set status = 'deletion_failed', first_allocated_at = now() where sandbox_id = %(sandbox_id)s
"""
_AGE = """
    update allocations set allocated_at = allocated_at - %(by)s, expires_at = expires_at - %(by)s,
        grace_until = grace_until - %(by)s, deadline = deadline - %(by)s
    where sandbox_id = %(sandbox_id)s
"""
_PUT = """
    update sandboxes set status = %(status)s, status_since = now(),
        first_allocated_at = case when %(status)s = 'allocated' then now() else first_allocated_at end,
        next_attempt_at = case when %(status)s = 'pending_deletion' then now() end,
        lease_id = case when %(status)s = 'deleting' then gen_random_uuid() end,
        lease_until = case when %(status)s = 'deleting' then now() + interval '1 hour' end,
        deleted_at = case when %(status)s = 'deleted' then now() end
    where sandbox_id = %(sandbox_id)s
"""
_END = """
    with ended as (
        update allocations set ended_at = date_trunc('second', now()), end_reason = %(reason)s,
            revoke_reason = case when %(reason)s = 'revoked' then 'a case says so' end
        where sandbox_id = %(sandbox_id)s and ended_at is null returning sandbox_id
    )
    update sandboxes as s set status = 'pending_deletion', status_since = now(), next_attempt_at = now()
    from ended where s.sandbox_id = ended.sandbox_id
"""


def first_runs(system: System) -> None:
    """Wait until each job has had the run that is due at a start: with an interval of days there is no other."""
    finished = "select count(*) from job_runs where finished_at is not null and lease_id is null"
    eventually(lambda: system.db.value(finished) == 4, within_s=30.0, what="the first run of each job")


def listing(document: Any) -> dict[str, Any]:
    """A scripted list of the provider: JSON as it stands there, or the results."""
    body = {"results": document} if isinstance(document, list) else document
    return {"body": json.dumps(body).encode(), "content_type": "application/json"}


class Student:
    """One track: every request carries its id, and a key that may speak for every track."""

    def __init__(self, system: System, key: str, track_id: str, lab: str | None = None) -> None:
        self.track_id = track_id
        self._system, self._key = system, key
        self._headers = [("X-Track-ID", track_id)] + ([] if lab is None else [("X-Instruqt-Track-ID", lab)])

    @property
    def authorization(self) -> tuple[str, str]:
        """The header for a request that is sent as bytes."""
        return "Authorization", f"Bearer {self._key}"

    def call(self, method: str, path: str, *, headers: Sequence[tuple[str, str]] = (), **request: Any) -> Answer:
        """Any request as this track."""
        return self._system.api.bearer(self._key, method, path, headers=[*self._headers, *headers], **request)

    def allocate(self, key: str | None = None, **request: Any) -> Answer:
        """Ask for a sandbox. key: the idempotency key."""
        named = [] if key is None else [("Idempotency-Key", key)]
        return self.call("POST", "/v1/allocate", headers=named, **request)

    def has(self, key: str | None = None) -> dict[str, Any]:
        """A new allocation of this track, as it was answered."""
        body: dict[str, Any] = accepted(self.allocate(key), 201)
        return body

    def current(self) -> Answer:
        """Look at what the track has."""
        return self.call("GET", "/v1/allocations/current")

    def look(self, sandbox_id: str) -> Answer:
        """Look at one sandbox."""
        return self.call("GET", f"/v1/sandboxes/{sandbox_id}")

    def extend(self, sandbox_id: str) -> Answer:
        """Keep it for longer."""
        return self.call("POST", f"/v1/sandboxes/{sandbox_id}/extend")

    def release(self, sandbox_id: str) -> Answer:
        """Give it back."""
        return self.call("POST", f"/v1/sandboxes/{sandbox_id}/mark-for-deletion")


class Pool:
    """The sandboxes of a system, its students and its admin. One per system: the keys are made once."""

    def __init__(self, system: System) -> None:
        self.system = system
        # Before a case begins: no digest shows them.
        self.track_key, self.admin_key = self._key("track"), self._key("admin")

    def _key(self, role: Role) -> str:
        key = api_keys.create(self.system, role=role)
        api_keys.noted(self.system, key.name)
        return key.secret

    def student(self, track_id: str | None = None, lab: str | None = None) -> Student:
        """A track, by default one that nobody knows yet."""
        return Student(self.system, self.track_key, track_id or f"track-{uuid.uuid4().hex}", lab)

    def students(self, count: int) -> list[Student]:
        """So many tracks that nobody knows yet."""
        return [self.student() for _ in range(count)]

    def holder(self) -> tuple[Student, str]:
        """A new track that has a sandbox, of a pool with one more; and the id of what it has."""
        self.seed()
        student = self.student()
        return student, student.has()["sandbox_id"]

    def admin(self, method: str, path: str, **request: Any) -> Answer:
        """A request of the admin."""
        return self.system.api.bearer(self.admin_key, method, path, **request)

    def sync(self, **params: Any) -> Answer:
        """Bring the pool in line with the provider's list; force=True: also where that is implausible."""
        return self.admin("POST", "/v1/admin/sync", params={name: str(value).lower() for name, value in params.items()})

    def cleanup(self) -> Answer:
        """Delete at the provider what is due."""
        return self.admin("POST", "/v1/admin/cleanup")

    def expire(self) -> Answer:
        """End what is past its grace."""
        return self.admin("POST", "/v1/admin/auto-expire")

    def remove_stale(self, **params: Any) -> Answer:
        """Remove what has been stale for grace_period_hours."""
        return self.admin("POST", "/v1/admin/auto-delete-stale", params=params)

    def bulk_delete(self, **params: Any) -> Answer:
        """Remove everything of a status."""
        return self.admin("POST", "/v1/admin/bulk-delete", params=params)

    def clear(self) -> None:
        """Leave nothing that could be given out: what was never given goes, as if it had never been."""
        self.write("delete from sandboxes where first_allocated_at is null")

    def wipe(self) -> None:
        """Leave no row of the broker; the circuit breaker is closed and has counted nothing."""
        self.write("delete from allocations")
        self.write("delete from sandboxes")
        self.write("delete from sync_runs")
        self.write("update breaker set failures = 0, open_until = null, paused_until = null")

    def seed(self, count: int = 1) -> list[str]:
        """Add sandboxes that may be given out; their ids."""
        ids = [f"sb-{uuid.uuid4().hex[:16]}" for _ in range(count)]
        self._add((one, f"{ACCOUNTS}{uuid.uuid4()}", f"lab {one}") for one in ids)
        return ids

    def undeletable(self) -> str:
        """Add a sandbox that was given out once and whose deletion was given up; its id."""
        [sandbox_id] = self.seed()
        self.write(_GIVE_UP, sandbox_id=sandbox_id)
        return sandbox_id

    def seed_listed(self, accounts: Iterable[dict[str, Any]]) -> list[str]:
        """Add sandboxes that the provider lists, as a sync would; their ids."""
        rows = [(str(one["csp_id"]), one["id"], one["name"]) for one in accounts]
        self._add(rows)
        return [row[0] for row in rows]

    def _add(self, rows: Iterable[tuple[str, str, str]]) -> None:
        with as_owner(self.system) as owner, owner.cursor() as cursor:
            cursor.executemany(_SEED, rows)

    def age(self, sandbox_id: str, seconds: float) -> None:
        """Let the allocation of this sandbox be so much older, with all of its times."""
        self.write(_AGE, sandbox_id=sandbox_id, by=timedelta(seconds=seconds))

    def put(self, sandbox_id: str, status: str) -> None:
        """Have a sandbox in a state, with what the state needs."""
        self.write(_PUT, sandbox_id=sandbox_id, status=status)

    def end(self, sandbox_id: str, reason: str) -> None:
        """End its allocation: released, expired or revoked."""
        self.write(_END, sandbox_id=sandbox_id, reason=reason)

    def write(self, statement: str, **values: Any) -> None:
        """A statement of the owner, for what no request brings about."""
        with as_owner(self.system) as owner:
            owner.execute(statement.encode(), values)

    def released(self, accounts: Iterable[dict[str, Any]]) -> list[str]:
        """Sandboxes that the provider lists, that a track has had and has given back; their ids."""
        ids = self.seed_listed(accounts)
        for student in self.students(len(ids)):
            accepted(student.release(student.has()["sandbox_id"]))
        return ids

    def due(self) -> None:
        """Let every deletion that waits for its next attempt be due."""
        self.write("update sandboxes set next_attempt_at = now() where status = 'pending_deletion'")

    def row(self, sandbox_id: str) -> dict[str, Any]:
        """The sandbox as it is stored."""
        return self.system.db.row("select * from sandboxes where sandbox_id = %s", sandbox_id)

    def status(self, sandbox_id: str) -> str:
        """Its state."""
        return str(self.row(sandbox_id)["status"])

    def statuses(self) -> dict[str, str]:
        """The state of each sandbox."""
        return {row["sandbox_id"]: row["status"] for row in self.system.db.rows("select * from sandboxes")}

    def ledger(self, sandbox_id: str) -> dict[str, Any]:
        """Its allocation as it is stored."""
        return self.system.db.row("select * from allocations where sandbox_id = %s", sandbox_id)
