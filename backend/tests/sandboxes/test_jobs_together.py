"""All jobs beside students who allocate, extend and release: no deadlock, nothing twice, nothing deleted in use."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

import asyncpg
import pytest
from support.database import settings_for
from support.provider import uuid

from nexmdm.kernel import keys
from nexmdm.kernel.database import Database
from nexmdm.kernel.keys import NewKey
from nexmdm.kernel.statements import Statements
from nexmdm.sandboxes import expiry, stale
from nexmdm.sandboxes.allocations import _EXTEND, _RELEASE
from nexmdm.sandboxes.allocator import Allocator
from nexmdm.sandboxes.decisions import Ask, Contended, Decisions
from nexmdm.sandboxes.deletions import Cleanup
from nexmdm.sandboxes.job import Report
from nexmdm.sandboxes.provider import Account, Accounts, Deletion, Provider
from nexmdm.sandboxes.sync import sync

_LASTS_S = 6
_AT_MOST_S = 60  # until each kind has happened
_KINDS = ("new", "sync added", "sync stale", "cleanup deleted", "expiry expired", "bulk deleted")
_STUDENTS = 8


class Lab:
    """A provider that makes sandboxes, forgets to list one in twenty, and fails to delete one in ten."""

    def __init__(self) -> None:
        self.listed: dict[str, Account] = {}
        self.deleted: list[str] = []
        self._made = 0

    def make(self, count: int) -> None:
        for number in range(self._made, self._made + count):
            account = Account(str(number), f"identity/accounts/{uuid(number)}", f"lab {number}")
            self.listed[account.external_id] = account
        self._made += count

    async def accounts(self) -> Accounts:
        found = [account for account in self.listed.values() if random.random() > 0.05]
        await asyncio.sleep(random.uniform(0, 0.05))
        return Accounts(found, 0)

    async def delete(self, external_id: str) -> Deletion:
        await asyncio.sleep(random.uniform(0, 0.02))
        if random.random() < 0.1:
            return Deletion("failed", "HTTP 409", 409)
        self.deleted.append(self.listed.pop(external_id).sandbox_id)
        return Deletion("gone", "HTTP 204", 204)


class Crowd:
    """Students and jobs, until the time is over."""

    def __init__(self, db: Database, key_hash: str) -> None:
        self.db, self.key_hash = db, key_hash
        self.done, self.given, self.lab = Counter[str](), list[str](), Lab()
        self._began = asyncio.get_running_loop().time()

    def missing(self) -> list[str]:
        """What has not happened yet."""
        return [kind for kind in _KINDS if self.done[kind] == 0]

    def over(self) -> bool:
        lasted_s = asyncio.get_running_loop().time() - self._began
        return lasted_s > (_AT_MOST_S if self.missing() else _LASTS_S)

    async def student(self, number: int, statements: Statements, allocator: Allocator) -> None:
        while not self.over():
            track_id = f"{number}-{random.random()}"
            try:
                decision = await allocator.allocate(Ask(self.key_hash, track_id, None, None))
            except Contended:
                continue
            self.done[decision.outcome] += 1
            if decision.given is None:
                await asyncio.sleep(0.01)
                continue
            sandbox_id = decision.given.sandbox_id
            self.given.append(sandbox_id)
            then = random.choice([_RELEASE, _RELEASE, _EXTEND, None])
            if then is not None:
                await statements.fetch(then, sandbox_id, track_id)
            await asyncio.sleep(0.05)  # all of them take less than is made: some are always free, and can be stale

    async def job(self, name: str, work: Callable[[], Awaitable[Report]]) -> None:
        while not self.over():
            report = await work()
            self.done.update({f"{name} {what}": times for what, times in report.counts.items()})
            await asyncio.sleep(0.02)

    async def make(self) -> None:
        while not self.over():
            self.lab.make(30)
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_all_jobs_beside_all_requests(
    db: Database, connection: asyncpg.Connection[Any], database_url: str
) -> None:
    shown: list[str] = []
    await keys.create(database_url, NewKey(name="t", role="track"), (), lambda key, _: shown.append(key))
    settings = settings_for(
        "postgresql://unused",
        sandbox_duration_s=1,
        sandbox_grace_s=0,
        sandbox_max_duration_s=3,
        deletion_attempts=1,
    )
    crowd = Crowd(db, keys.hash_of(shown[0]) or "")
    lab = crowd.lab
    client = cast(Provider, lab)
    jobs: dict[str, Callable[[], Awaitable[Report]]] = {
        "sync": lambda: sync(db, client, settings, force=True),
        "cleanup": lambda: Cleanup(db, client, settings, crowd.over).run(),
        "expiry": lambda: expiry.expire(db, crowd.over),
        "stale": lambda: stale.remove(db, 0, crowd.over),
        "bulk": lambda: stale.bulk_delete(db, "deletion_failed", crowd.over),
    }
    async with (
        Statements(db, settings.db_pool_size) as statements,
        Decisions(db, settings) as decisions,
        Allocator(decisions) as allocator,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(crowd.make())
        for number in range(_STUDENTS):
            tasks.create_task(crowd.student(number, statements, allocator))
        for name, work in [*jobs.items()] * 2:
            tasks.create_task(crowd.job(name, work))
    assert crowd.missing() == []
    assert len(set(crowd.given)) == len(crowd.given)
    assert len(set(lab.deleted)) == len(lab.deleted)
    in_use = await connection.fetch("SELECT sandbox_id FROM allocations WHERE ended_at IS NULL")
    assert {row["sandbox_id"] for row in in_use}.isdisjoint(lab.deleted)
    odd = await connection.fetch(
        "SELECT s.sandbox_id, s.status, a.end_reason FROM sandboxes AS s LEFT JOIN allocations AS a USING (sandbox_id)"
        " WHERE (s.status = 'allocated') <> (a.allocation_id IS NOT NULL AND a.ended_at IS NULL)"
        " OR (s.status IN ('available', 'stale')) <> (a.allocation_id IS NULL)"
    )
    assert odd == []
