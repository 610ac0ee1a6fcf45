"""When a job runs: at its interval after its last end, once over all processes; what a restart missed runs at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from support.database import settings_for
from support.provider import TOKEN, FakeProvider
from support.sandboxes import store_allocation, store_sandbox

from nexmdm.kernel.database import Database
from nexmdm.sandboxes import leases, schedule
from nexmdm.sandboxes.job import Over, Report
from nexmdm.sandboxes.schedule import CLEANUP, EXPIRY, JOBS, Job, run_if_due

Logged = Callable[[], list[dict[str, Any]]]

SETTINGS = settings_for("postgresql://unused", expiry_every_s=300, cleanup_every_s=300)


class Work:
    """A job that counts its runs, each as long as `go` is not set."""

    def __init__(self) -> None:
        self.runs, self.go, self.began = 0, asyncio.Event(), asyncio.Event()
        self.over: Over = lambda: False
        self.job = Job("expiry", lambda settings: settings.expiry_every_s, self._work)
        self.go.set()

    async def _work(self, _db: Any, _provider: Any, _settings: Any, over: Over) -> Report:
        self.runs += 1
        self.over = over
        self.began.set()
        await self.go.wait()
        return Report({"expired": self.runs})


@pytest.fixture
async def work() -> Work:
    return Work()


async def eventually(connection: asyncpg.Connection[Any], question: str) -> None:
    for _ in range(500):
        if await connection.fetchval(question):
            return
        await asyncio.sleep(0.01)
    pytest.fail(question)


async def tick(db: Database, job: Job) -> None:
    await run_if_due(job, db, None, SETTINGS, lambda: False)


async def test_a_job_that_never_ran_is_due_and_then_waits_for_its_interval(
    db: Database, work: Work, connection: asyncpg.Connection[Any]
) -> None:
    await tick(db, work.job)
    await tick(db, work.job)
    assert work.runs == 1
    row = await connection.fetchrow("SELECT * FROM job_runs WHERE job = 'expiry'")
    assert row is not None
    assert (json.loads(row["counts"]), row["lease_id"]) == ({"expired": 1}, None)
    await connection.execute("UPDATE job_runs SET finished_at = now() - interval '301 s'")  # as before a restart
    await tick(db, work.job)
    assert work.runs == 2


async def test_of_many_processes_one_runs_it(db: Database, work: Work) -> None:
    work.go.clear()
    running = [asyncio.create_task(tick(db, work.job)) for _ in range(5)]
    await work.began.wait()
    await tick(db, work.job)
    work.go.set()
    await asyncio.gather(*running)
    assert work.runs == 1


async def test_a_lease_decides_where_two_have_seen_it_due(
    db: Database, monkeypatch: pytest.MonkeyPatch, work: Work
) -> None:
    async def is_due(*_: object) -> bool:
        return True

    monkeypatch.setattr(leases, "is_due", is_due)
    await asyncio.gather(*(tick(db, work.job) for _ in range(5)))
    assert work.runs == 1


@pytest.mark.parametrize("left_s,runs", [(5, 0), (-1, 1)])
async def test_the_lease_of_a_process_that_died_runs_out(
    left_s: int, runs: int, db: Database, work: Work, connection: asyncpg.Connection[Any]
) -> None:
    await connection.execute(
        "INSERT INTO job_runs (job, lease_id, lease_until) VALUES"
        " ('expiry', gen_random_uuid(), now() + $1 * interval '1 s')",
        left_s,
    )
    await tick(db, work.job)
    assert work.runs == runs


async def test_a_lease_is_renewed_while_its_job_runs_and_a_lost_one_ends_it(
    db: Database, work: Work, connection: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_RENEW_S", 0.02)
    work.go.clear()
    running = asyncio.create_task(tick(db, work.job))
    await work.began.wait()
    await connection.execute("UPDATE job_runs SET lease_until = now() + interval '1 s'")
    await eventually(connection, "SELECT lease_until > now() + interval '10 s' FROM job_runs")
    assert not work.over()
    await connection.execute("UPDATE job_runs SET lease_id = gen_random_uuid()")
    for _ in range(300):
        if work.over():
            break
        await asyncio.sleep(0.01)
    assert work.over()
    work.go.set()
    await running
    row = await connection.fetchrow("SELECT finished_at, lease_id FROM job_runs")
    assert row is not None
    assert row["finished_at"] is None, "it is another's"
    assert row["lease_id"] is not None


async def test_a_run_that_fails_is_due_again_at_once(
    db: Database, work: Work, connection: asyncpg.Connection[Any]
) -> None:
    async def fail(*_: object) -> Report:
        raise ValueError("no work")

    with pytest.raises(ValueError, match="no work"):
        await tick(db, Job("expiry", work.job.every_s, fail))
    await tick(db, work.job)
    assert work.runs == 1


async def test_a_look_writes_nothing_while_nothing_is_due(
    db: Database, work: Work, connection: asyncpg.Connection[Any]
) -> None:
    await tick(db, work.job)
    before = await connection.fetchrow("SELECT xmin, xmax, * FROM job_runs")
    await tick(db, work.job)
    assert await connection.fetchrow("SELECT xmin, xmax, * FROM job_runs") == before


@pytest.mark.parametrize(
    "pending_s,leased_s,open_s,paused_s,again_s",
    [
        (None, None, None, None, None),
        (40, None, None, None, 40),
        (None, 30, None, None, 30),
        (40, 30, None, None, 30),
        (40, None, 50, None, 50),
        (40, 30, None, 60, 60),
        (None, None, 50, 60, None),
    ],
)
async def test_cleanup_looks_again_when_something_may_be_called(
    pending_s: int | None,
    leased_s: int | None,
    open_s: int | None,
    paused_s: int | None,
    again_s: int | None,
    db: Database,
    connection: asyncpg.Connection[Any],
) -> None:
    if pending_s is not None:
        await store_sandbox(connection, "1", "pending_deletion")
    if leased_s is not None:
        await store_sandbox(connection, "2", "deleting")
    moment = "now() + $1 * interval '1 s'"
    await connection.execute(f"UPDATE sandboxes SET next_attempt_at = {moment} WHERE sandbox_id = '1'", pending_s)
    await connection.execute(f"UPDATE sandboxes SET lease_until = {moment} WHERE sandbox_id = '2'", leased_s)
    await connection.execute(f"UPDATE breaker SET open_until = {moment}", open_s)
    await connection.execute(f"UPDATE breaker SET paused_until = {moment}", paused_s)

    async def nothing(*_: object) -> Report:
        return Report()

    await tick(db, Job("cleanup", CLEANUP.every_s, nothing, looks_again=True))
    seen = await connection.fetchval("SELECT extract(epoch FROM look_again_at - now())::float FROM job_runs")
    assert seen is None if again_s is None else again_s - 2 < seen <= again_s
    await connection.execute("UPDATE job_runs SET look_again_at = look_again_at - interval '1 h'")
    assert await leases.is_due(db, "cleanup", 300) is (again_s is not None)


async def test_a_job_of_the_service_runs_and_ends_with_it(
    db: Database, connection: asyncpg.Connection[Any], logged: Logged
) -> None:
    await store_allocation(connection, "1", at="2026-01-01")
    stop = asyncio.Event()
    settings = settings_for("postgresql://unused", expiry_every_s=0.05)
    running = asyncio.create_task(JOBS["sandboxes_expiry"](db, settings, stop))
    await eventually(connection, "SELECT finished_at IS NOT NULL AND counts['expired'] = '0' FROM job_runs")
    stop.set()
    async with asyncio.timeout(2):
        await running
    started, first, finished = [line for line in logged() if line["event"].startswith("sandboxes.")][:3]
    assert (started["event"], started["job"], started["interval_s"]) == ("sandboxes.job.started", "expiry", 0.05)
    assert (finished["event"], finished["counts"]) == ("sandboxes.job.finished", {"expired": 1})
    assert {line["route"] for line in (started, first, finished)} == {"worker:expiry"}
    assert len({line["request_id"] for line in (started, first, finished)}) == 1


async def test_without_a_provider_its_jobs_rest_with_one_warning(db: Database, logged: Logged) -> None:
    await JOBS["sandboxes_sync"](db, SETTINGS, asyncio.Event())
    await JOBS["sandboxes_cleanup"](db, SETTINGS, asyncio.Event())
    (line,) = logged()
    assert (line["event"], line["level"], line["dependency"]) == ("dependency.unavailable", "WARNING", "provider")


async def test_an_outage_is_waited_out(
    db: Database, connection: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = [OSError("away")] * 2

    async def is_due(*arguments: Any) -> bool:
        if fails:
            raise fails.pop()
        return await real(*arguments)

    real = leases.is_due
    monkeypatch.setattr(leases, "is_due", is_due)
    stop = asyncio.Event()
    settings = settings_for("postgresql://unused", expiry_every_s=0.02)
    running = asyncio.create_task(JOBS["sandboxes_expiry"](db, settings, stop))
    await eventually(connection, "SELECT count(*) = 1 FROM job_runs")
    stop.set()
    await running


async def test_the_end_of_the_process_waits_for_a_call_a_while_and_leaves_its_lease(
    db: Database, provider: FakeProvider, connection: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "_FINISH_S", 0.1)
    await store_sandbox(connection, "1", "pending_deletion")
    await connection.execute("UPDATE sandboxes SET next_attempt_at = now()")
    provider.hold = asyncio.Event()
    stop = asyncio.Event()
    settings = settings_for("postgresql://unused", provider_url=provider.url, provider_token=TOKEN)
    running = asyncio.create_task(JOBS["sandboxes_cleanup"](db, settings, stop))
    await provider.called(1)
    stop.set()
    async with asyncio.timeout(2):
        await running
    assert await connection.fetchval("SELECT status FROM sandboxes") == "deleting"
    row = await connection.fetchrow("SELECT finished_at, lease_id FROM job_runs")
    assert row is not None
    assert tuple(row) == (None, None), "the next process may begin at once"


def test_the_jobs_have_the_names_of_their_lines() -> None:
    assert set(JOBS) == {"sandboxes_sync", "sandboxes_cleanup", "sandboxes_expiry", "sandboxes_stale"}
    assert [job.every_s(SETTINGS) for job in (schedule.SYNC, CLEANUP, EXPIRY, schedule.STALE)] == [600, 300, 300, 86400]
