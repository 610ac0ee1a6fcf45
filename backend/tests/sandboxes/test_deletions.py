"""Cleanup: which rows are called for, what each answer makes of one, and whose answer counts."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import asyncpg
import pytest
from support.database import settings_for
from support.provider import TOKEN, FakeProvider
from support.sandboxes import store_sandbox

from nexmdm.kernel.database import Database
from nexmdm.sandboxes import deletions, job
from nexmdm.sandboxes.deletions import Cleanup
from nexmdm.sandboxes.job import Report
from nexmdm.sandboxes.provider import Provider

Logged = Callable[[], list[dict[str, Any]]]

Run = Callable[[], Coroutine[Any, Any, Report]]


@pytest.fixture
async def run(db: Database, provider: FakeProvider) -> AsyncIterator[Run]:
    settings = settings_for("postgresql://unused", provider_url=provider.url, provider_token=TOKEN)
    async with aclosing(Provider(settings)) as client:
        yield lambda: Cleanup(db, client, settings, lambda: False).run()


async def due(connection: asyncpg.Connection[Any], *numbers: int, attempts: int = 0) -> None:
    for number in numbers:
        await store_sandbox(connection, str(number), "pending_deletion")
    await connection.execute(
        "UPDATE sandboxes SET next_attempt_at = now() - interval '1 s', delete_attempts = $1,"
        " external_id = 'identity/accounts/' || sandbox_id",
        attempts,
    )


async def row(connection: asyncpg.Connection[Any], number: int = 1) -> dict[str, Any]:
    found = await connection.fetchrow(
        "SELECT *, extract(epoch FROM next_attempt_at - now())::float AS wait_s FROM sandboxes WHERE sandbox_id = $1",
        str(number),
    )
    assert found is not None
    return dict(found)


@pytest.mark.parametrize("status", [200, 204, 404])
async def test_what_is_gone_leaves_a_tombstone(
    status: int, run: Run, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await due(connection, 1)
    provider.status = status
    report = await run()
    seen = await row(connection)
    assert (seen["status"], seen["lease_id"], seen["delete_attempts"]) == ("deleted", None, 0)
    assert (report.counts["deleted"], provider.deleted) == (1, ["1"])


async def test_what_is_not_due_waits(run: Run, provider: FakeProvider, connection: asyncpg.Connection[Any]) -> None:
    await due(connection, 1)
    await connection.execute("UPDATE sandboxes SET next_attempt_at = now() + interval '1 s'")
    for number, status in enumerate(("available", "allocated", "deleting", "deletion_failed", "stale", "deleted"), 2):
        await store_sandbox(connection, str(number), status)
    await run()
    assert provider.requests == []


@pytest.mark.parametrize("attempts,wait_s", [(0, 60), (1, 120), (3, 480), (6, 3600)])
async def test_a_failure_is_tried_again_later_each_time(
    attempts: int, wait_s: int, run: Run, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await due(connection, 1, attempts=attempts)
    provider.status = 500
    report = await run()
    seen = await row(connection)
    assert (seen["status"], seen["delete_attempts"], seen["last_error"]) == (
        "pending_deletion",
        attempts + 1,
        "HTTP 500",
    )
    assert math.isclose(seen["wait_s"], wait_s, abs_tol=2)
    assert report.counts["failed"] == 1


async def test_the_eighth_failure_is_the_last(
    run: Run, provider: FakeProvider, connection: asyncpg.Connection[Any], logged: Logged
) -> None:
    await due(connection, 1, attempts=7)
    provider.status = 409
    report = await run()
    seen = await row(connection)
    assert (seen["status"], seen["delete_attempts"], seen["next_attempt_at"]) == ("deletion_failed", 8, None)
    assert report.counts["gave_up"] == 1
    assert "sandboxes.deletion.failed" in {line["event"] for line in logged()}
    await run()
    assert len(provider.requests) == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_counts_no_attempt(
    status: int, run: Run, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await due(connection, 1, attempts=7)
    provider.status = status
    report = await run()
    seen = await row(connection)
    assert (seen["status"], seen["delete_attempts"], report.counts["refused"]) == ("pending_deletion", 7, 1)
    assert seen["wait_s"] > 50


async def test_a_429_pauses_every_deletion(
    run: Run, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await due(connection, *range(1, 10), attempts=7)
    provider.status, provider.headers = 429, "retry-after: 30\r\n"
    report = await run()
    assert 1 <= len(provider.requests) <= 4, "those that were already called"
    assert report.counts["rate_limited"] == len(provider.requests)
    assert await connection.fetchval("SELECT sum(delete_attempts) FROM sandboxes") == 9 * 7
    assert 28 <= await connection.fetchval("SELECT extract(epoch FROM paused_until - now()) FROM breaker") <= 30
    provider.status, calls = None, len(provider.requests)
    await run()
    assert len(provider.requests) == calls
    await connection.execute("UPDATE breaker SET paused_until = now(); UPDATE sandboxes SET next_attempt_at = now()")
    assert (await run()).counts["deleted"] == 9


async def test_only_what_is_called_at_once_is_claimed(
    run: Run, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await due(connection, *range(1, 8))
    provider.hold = asyncio.Event()
    running = asyncio.create_task(run())
    await provider.called(4)
    await asyncio.sleep(0.1)
    leased = await connection.fetchrow(
        "SELECT count(*) AS n, min(lease_until - now()) > interval '55 s' AS good, count(DISTINCT lease_id) AS leases"
        " FROM sandboxes WHERE status = 'deleting'"
    )
    assert leased is not None
    assert tuple(leased) == (4, True, 4)
    provider.hold.set()
    await running
    assert (provider.most_at_once, sorted(provider.deleted)) == (4, list("1234567"))


async def test_two_runs_call_for_no_row_twice(
    run: Run, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await due(connection, *range(1, 21))
    await asyncio.gather(run(), run())
    assert sorted(provider.deleted, key=int) == [str(number) for number in range(1, 21)]


async def test_a_row_that_somebody_holds_is_passed_over(
    run: Run, provider: FakeProvider, connection: asyncpg.Connection[Any], db: Database
) -> None:
    await due(connection, 1, 2)
    holder = await db.connect()
    try:
        await holder.execute("BEGIN; SELECT FROM sandboxes WHERE sandbox_id = '1' FOR UPDATE")
        async with asyncio.timeout(2):
            await run()
    finally:
        await holder.close()
    assert provider.deleted == ["2"]


async def test_a_lease_that_ran_out_is_taken_back_and_a_good_one_is_not(
    run: Run, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await store_sandbox(connection, "1", "deleting")
    await store_sandbox(connection, "2", "deleting")
    await connection.execute("UPDATE sandboxes SET lease_until = now() - interval '1 s' WHERE sandbox_id = '1'")
    await run()
    assert provider.deleted == ["1"]
    assert ((await row(connection, 1))["status"], (await row(connection, 2))["status"]) == ("deleted", "deleting")
    assert (await row(connection, 1))["delete_attempts"] == 0


@pytest.mark.parametrize("answer", [204, 500])
async def test_an_answer_under_a_lost_lease_counts_for_nothing(
    answer: int, run: Run, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await due(connection, 1)
    provider.status, provider.hold = answer, asyncio.Event()
    running = asyncio.create_task(run())
    await provider.called(1)
    await connection.execute("UPDATE sandboxes SET lease_id = gen_random_uuid()")
    before = await row(connection)
    provider.hold.set()
    report = await running
    assert {**await row(connection), "wait_s": 0} == {**before, "wait_s": 0}
    assert (report.counts["lost"], report.counts["deleted"]) == (1, 0)


async def test_a_call_that_might_outlast_its_lease_is_not_made(
    run: Run, provider: FakeProvider, connection: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await due(connection, 1)
    claimed = set[asyncio.Task[Any] | None]()

    def clock() -> float:
        """0 when a worker first claims, and too late when it is to call."""
        task = asyncio.current_task()
        late = task in claimed
        claimed.add(task)
        return 35.1 if late else 0.0

    monkeypatch.setattr(deletions, "monotonic", clock)
    report = await run()
    assert (provider.requests, report.counts["lost"]) == ([], 1)
    assert (await row(connection))["status"] == "deleting", "until its lease has run out"


async def test_an_answer_outlives_an_outage_of_the_database(
    run: Run, provider: FakeProvider, connection: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await due(connection, 1)
    fails = [OSError("away"), OSError("away")]

    async def commit(db: Database, statement: Any, **parameters: Any) -> Any:
        if statement is deletions._DELETED and fails:
            raise fails.pop()
        return await job.commit(db, statement, **parameters)

    monkeypatch.setattr(deletions, "commit", commit)
    monkeypatch.setattr(deletions, "_OUTAGE_PAUSE_S", 0.01)
    assert (await run()).counts["deleted"] == 1
    assert len(provider.requests) == 1


async def test_an_outage_that_outlasts_the_lease_ends_the_run(
    run: Run, provider: FakeProvider, connection: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await due(connection, 1)

    async def commit(db: Database, statement: Any, **parameters: Any) -> Any:
        if statement is deletions._DELETED:
            raise OSError("away")
        return await job.commit(db, statement, **parameters)

    clock = iter([0.0] * 5)  # four claims and a call; then the lease is over
    monkeypatch.setattr(deletions, "monotonic", lambda: next(clock, 60.1))
    monkeypatch.setattr(deletions, "commit", commit)
    with pytest.raises(OSError, match="away"):
        await run()
    assert (await row(connection))["status"] == "deleting"


async def test_the_outage_of_one_call_leaves_the_others_their_answers(
    run: Run, provider: FakeProvider, connection: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await due(connection, 1)
    fails = [OSError("away")]

    async def commit(db: Database, statement: Any, **parameters: Any) -> Any:
        if statement is deletions._CLAIM and provider.requests and fails:
            raise fails.pop()
        return await job.commit(db, statement, **parameters)

    provider.wait_s = 0.2
    monkeypatch.setattr(deletions, "commit", commit)
    running = asyncio.create_task(run())
    await provider.called(1)
    with pytest.raises(OSError, match="away"):
        await running
    assert (await row(connection))["status"] == "deleted"


async def test_while_the_circuit_is_open_nothing_is_claimed(
    run: Run, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await due(connection, *range(1, 31))
    provider.status = 503
    await run()
    assert 5 <= len(provider.requests) <= 8, "five, and those that were already called"
    assert await connection.fetchval("SELECT sum(delete_attempts) FROM sandboxes") == len(provider.requests)
    calls = len(provider.requests)
    await run()
    assert len(provider.requests) == calls


async def test_the_probe_is_one_call_and_counts_no_attempt(
    run: Run, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await due(connection, *range(1, 10))
    await connection.execute("UPDATE breaker SET failures = 5, open_until = now()")
    provider.status = 503
    await run()
    assert len(provider.requests) == 1
    assert await connection.fetchval("SELECT sum(delete_attempts) FROM sandboxes") == 0
    assert 58 <= await connection.fetchval("SELECT extract(epoch FROM open_until - now()) FROM breaker") <= 60
    await connection.execute("UPDATE breaker SET open_until = now(); UPDATE sandboxes SET next_attempt_at = now()")
    provider.status, provider.wait_s = None, 0.05
    assert (await run()).counts["deleted"] == 9
    assert provider.most_at_once > 1, "the circuit is closed again"


async def test_a_probe_without_a_use_is_given_back(
    run: Run, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await connection.execute("UPDATE breaker SET failures = 5, open_until = now()")
    await run()
    assert await connection.fetchval("SELECT open_until <= clock_timestamp() FROM breaker")
    assert provider.requests == []
