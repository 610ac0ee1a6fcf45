"""An honest run on a small pool: students ask the service's own function, and everything is recorded."""

from __future__ import annotations

import time
from typing import Any

from harness.api_keys import insert_key
from harness.provider.server import ProviderControl
from harness.sandboxes import seeding
from harness.sandboxes.calls import ALLOCATE, EXTEND, RELEASE, VIEW, Call
from harness.sandboxes.verify import Verification, verify_snapshot
from harness.tests.sandboxes.conftest import Database
from harness.verdict.thresholds import Status

LABEL, COUNT = "t", 8
_ALLOCATE = """
    SELECT outcome, sandbox_id, extract(epoch FROM allocated_at)::int AS allocated_at,
        extract(epoch FROM expires_at)::int AS expires_at
    FROM nexmdm_allocate_sandbox((SELECT key_hash FROM api_keys), %s, %s, null, 60, 30, 600, 0, 10)
"""
_RELEASE = """
    WITH ended AS (
        UPDATE allocations SET ended_at = date_trunc('second', clock_timestamp()), end_reason = 'released'
        WHERE sandbox_id = %s RETURNING sandbox_id
    )
    UPDATE sandboxes SET status = 'pending_deletion', next_attempt_at = now() FROM ended
    WHERE sandboxes.sandbox_id = ended.sandbox_id
"""
_EXTEND = """
    UPDATE allocations SET expires_at = expires_at + interval '9 s', grace_until = grace_until + interval '9 s'
    WHERE sandbox_id = %s
"""
_DELETE = """
    UPDATE sandboxes SET status = 'deleted', deleted_at = now(), next_attempt_at = null WHERE sandbox_id = %s
    RETURNING split_part(external_id, '/', 3)
"""
STATUSES = {"new": 201, "replay": 200, "exhausted": 409}


class Record(ProviderControl):
    """What the provider was asked to delete."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1")
        self.deletions: list[dict[str, Any]] = []

    def calls(self, *_: object, **__: object) -> list[dict[str, Any]]:
        return list(self.deletions)

    def delete(self, its_id: str, status: int = 204) -> None:
        """It was asked so now."""
        self.deletions.append({"id": its_id, "status": status, "at": time.time()})


class History:
    """The database, the calls and the provider's record of a run, to be made worse by a test."""

    def __init__(self, database: Database) -> None:
        self.database, self.calls, self.provider = database, list[Call](), Record()
        insert_key(database.url, "track")
        seeding.seed(database.url, LABEL, COUNT)
        # As if the pool had been there for a while: the verifier grants a new sandbox a second.
        self.plant("UPDATE sandboxes SET made_available_at = made_available_at - interval '1 minute'")
        self.has: dict[str, str] = {}

    def plant(self, *statements: str) -> None:
        """What a broken service would have done."""
        for statement in statements:
            self.database.execute(statement)

    def allocate(self, track: str, lab: str | None = None, *, lost: bool = False) -> Call:
        """Ask; lost: no answer comes."""
        asked_at = time.time()
        [(outcome, *said)] = self.database.execute(_ALLOCATE, track, lab)
        ended_at = time.time()
        if said[0] is not None:
            self.has[track] = said[0]
        answer = (0,) if lost else (STATUSES[outcome], *said) if said[0] else (STATUSES[outcome],)
        return self.note(Call(ALLOCATE, track, asked_at, ended_at, *answer))

    def note(self, call: Call) -> Call:
        """Into the record of calls."""
        self.calls.append(call)
        return call

    def change(self, kind: str, track: str, statement: str, *, status: int = 200) -> Call:
        """A release, or an extension, of what the track has."""
        asked_at = time.time()
        self.database.execute(statement, self.has[track])
        return self.note(Call(kind, track, asked_at, time.time(), status, self.has[track]))

    def release(self, track: str, *, status: int = 200) -> Call:
        return self.change(RELEASE, track, _RELEASE, status=status)

    def view(self, call: Call) -> None:
        """The track looks at what an earlier call has told it."""
        self.note(call._replace(kind=VIEW, status=200, asked_at=time.time(), ended_at=time.time()))

    def go(self) -> None:
        """A run in which everything happens that may."""
        first = self.allocate("s1", "lab-a")
        self.allocate("s1", "lab-a")
        self.view(first)
        self.allocate("s2", "lab-a")
        self.release("s2")
        self.release("s2")
        self.allocate("s2", "lab-a")
        self.allocate("s3", "lab-b")
        self.change(EXTEND, "s3", _EXTEND)
        self.allocate("s3", "lab-b")
        self.allocate("s4", lost=True)
        self.allocate("s4")
        self.allocate("s5")
        self.release("s5", status=503)
        [(its_id,)] = self.database.execute(_DELETE, self.has["s5"])
        self.provider.delete(its_id)
        self.allocate("s6")
        self.allocate("s7")
        assert self.allocate("s8").status == 409

    def judge(
        self, calls: list[Call] | None = None, label: str | None = LABEL, seeded: int | None = COUNT
    ) -> Verification:
        """What the verifier finds in the transaction in which this was planted; calls: others than those of the run."""
        asked = self.calls if calls is None else calls
        session = self.database.session
        return verify_snapshot(session, asked, label=label, seeded=seeded, provider=self.provider)

    def red(self, label: str | None = LABEL, seeded: int | None = COUNT) -> dict[str, str]:
        """The checks that failed, with what they found."""
        checks = self.judge(label=label, seeded=seeded).checks
        return {one.id: one.detail for one in checks if one.status is Status.FAIL}
