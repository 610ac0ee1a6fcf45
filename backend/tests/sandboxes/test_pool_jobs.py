"""The jobs at an admin's command: what each answers, and what it refuses."""

from __future__ import annotations

from typing import Any

import asyncpg
import httpx
import pytest
from support.provider import TOKEN, FakeProvider, entry
from support.sandboxes import store_allocation, store_sandbox

from nexmdm.sandboxes import pool_jobs

ADMIN = "/v1/admin"


@pytest.fixture
def has_provider() -> bool:
    """Whether the application knows one."""
    return True


@pytest.fixture
def overrides(provider: FakeProvider, has_provider: bool) -> dict[str, Any]:
    return {"provider_url": provider.url, "provider_token": TOKEN} if has_provider else {}


async def statuses(connection: asyncpg.Connection[Any]) -> dict[str, str]:
    return dict(await connection.fetch("SELECT sandbox_id, status FROM sandboxes"))


async def test_a_sync_says_what_it_changed(
    admin: httpx.AsyncClient, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await store_sandbox(connection, "9")
    provider.entries = [entry(1), entry(2)]
    answer = await admin.post(f"{ADMIN}/sync")
    seen = answer.json()
    assert answer.status_code == 200
    assert seen.pop("duration_ms") > 0
    assert seen == {"status": "completed", "synced": 2, "marked_stale": 1}
    assert await statuses(connection) == {"1": "available", "2": "available", "9": "stale"}


async def test_a_second_sync_is_refused_while_one_runs(
    admin: httpx.AsyncClient, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await connection.execute(
        "INSERT INTO job_runs (job, lease_id, lease_until) VALUES ('sync', gen_random_uuid(), now() + interval '9 s')"
    )
    answer = await admin.post(f"{ADMIN}/sync")
    assert (answer.status_code, answer.json()["code"]) == (409, "sync_running")
    assert provider.requests == []


async def test_a_sync_that_ended_is_stored_as_the_last_one(
    admin: httpx.AsyncClient, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await admin.post(f"{ADMIN}/sync")
    row = await connection.fetchrow("SELECT * FROM job_runs WHERE job = 'sync'")
    assert row is not None
    assert row["finished_at"] is not None
    assert row["lease_id"] is None


@pytest.mark.parametrize(
    "status,body,code",
    [(403, None, "provider_refused"), (503, None, "provider_refused"), (200, b"{}", "sync_implausible")],
)
async def test_what_the_provider_refuses_is_502(
    admin: httpx.AsyncClient, provider: FakeProvider, status: int, body: bytes | None, code: str
) -> None:
    provider.status, provider.body = status, body
    answer = await admin.post(f"{ADMIN}/sync")
    assert (answer.status_code, answer.json()["code"]) == (502, code)


async def test_an_admin_may_force_an_implausible_list(
    admin: httpx.AsyncClient, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await store_sandbox(connection, "9")
    answer = await admin.post(f"{ADMIN}/sync")
    assert (answer.status_code, answer.json()["code"]) == (502, "sync_implausible")
    assert await statuses(connection) == {"9": "available"}
    answer = await admin.post(f"{ADMIN}/sync?force=true")
    assert (answer.status_code, answer.json()["marked_stale"]) == (200, 1)


@pytest.mark.parametrize("path", ["sync", "cleanup"])
async def test_while_the_circuit_is_open_nobody_is_called(
    path: str, admin: httpx.AsyncClient, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await connection.execute("UPDATE breaker SET failures = 5, open_until = now() + interval '30 s'")
    await store_sandbox(connection, "1", "pending_deletion")
    await connection.execute("UPDATE sandboxes SET next_attempt_at = now()")
    answer = await admin.post(f"{ADMIN}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (503, "circuit_open")
    assert 28 <= int(answer.headers["retry-after"]) <= 30
    assert provider.requests == []
    assert await statuses(connection) == {"1": "pending_deletion"}


async def test_a_cleanup_counts_what_it_did_and_what_it_did_not(
    admin: httpx.AsyncClient, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    for number in range(3):
        await store_sandbox(connection, str(number), "pending_deletion")
    await connection.execute("UPDATE sandboxes SET next_attempt_at = now()")
    provider.script = [204, 500, 404]
    answer = await admin.post(f"{ADMIN}/cleanup")
    seen = answer.json()
    assert answer.status_code == 200
    assert seen.pop("duration_ms") > 0
    assert seen == {"status": "completed", "deleted": 2, "failed": 1, "remaining": 0}
    assert sorted((await statuses(connection)).values()) == ["deleted", "deleted", "pending_deletion"]


async def test_who_runs_out_of_time_says_what_remains(
    admin: httpx.AsyncClient,
    provider: FakeProvider,
    connection: asyncpg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_jobs, "_CLAIMING_S", 0.0)
    await store_sandbox(connection, "1", "pending_deletion")
    await store_sandbox(connection, "2", "stale")
    await store_sandbox(connection, "3", "deletion_failed")
    await store_allocation(connection, "4", at="2026-01-01")
    await connection.execute("UPDATE sandboxes SET next_attempt_at = now() WHERE sandbox_id = '1'")
    paths = ["cleanup", "auto-expire", "auto-delete-stale?grace_period_hours=0", "bulk-delete?status=stale"]
    before = await statuses(connection)
    for path in (*paths, "bulk-delete?status=deletion_failed"):
        answer = await admin.post(f"{ADMIN}/{path}")
        assert (answer.status_code, answer.json()["remaining"]) == (200, 1), path
    assert await statuses(connection) == before
    assert provider.requests == []


async def test_an_expiry_ends_what_is_past_its_grace(
    admin: httpx.AsyncClient, connection: asyncpg.Connection[Any]
) -> None:
    await store_allocation(connection, "1", at="2026-01-01")
    await store_allocation(connection, "2")
    answer = await admin.post(f"{ADMIN}/auto-expire")
    seen = answer.json()
    assert seen.pop("duration_ms") > 0
    assert (answer.status_code, seen) == (200, {"status": "completed", "expired": 1, "remaining": 0})
    assert await statuses(connection) == {"1": "pending_deletion", "2": "allocated"}


@pytest.mark.parametrize(
    "hours,left", [("", ["day"]), ("?grace_period_hours=1", []), ("?grace_period_hours=8760", ["day", "two"])]
)
async def test_stale_rows_go_after_their_grace(
    hours: str, left: list[str], admin: httpx.AsyncClient, connection: asyncpg.Connection[Any]
) -> None:
    await store_sandbox(connection, "day", "stale")
    await store_sandbox(connection, "two", "stale")
    await connection.execute(
        "UPDATE sandboxes SET status_since = now() - CASE sandbox_id WHEN 'day' THEN 23 ELSE 25 END * interval '1 h'"
    )
    answer = await admin.post(f"{ADMIN}/auto-delete-stale{hours}")
    assert (answer.status_code, answer.json()["deleted"], answer.json()["remaining"]) == (200, 2 - len(left), 0)
    assert sorted(await statuses(connection)) == left


async def test_a_bulk_delete_takes_one_state_and_keeps_what_was_given_as_tombstones(
    admin: httpx.AsyncClient, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    for status in ("available", "allocated", "pending_deletion", "deleting", "deletion_failed", "stale", "deleted"):
        await store_sandbox(connection, status, status)
    before = await statuses(connection)
    answer = await admin.post(f"{ADMIN}/bulk-delete?status=stale")
    seen = answer.json()
    assert seen.pop("duration_ms") > 0
    assert (answer.status_code, seen) == (200, {"status": "completed", "deleted": 1, "remaining": 0})
    del before["stale"]
    assert await statuses(connection) == before
    await admin.post(f"{ADMIN}/bulk-delete?status=deletion_failed")
    assert await statuses(connection) == {**before, "deletion_failed": "deleted"}
    assert provider.requests == []


@pytest.mark.parametrize(
    "path",
    [
        "bulk-delete",
        "bulk-delete?status=available",
        "bulk-delete?status=",
        "bulk-delete?status=stale&status=stale",
        "sync?force=yes",
        "sync?force=true&force=false",
        "auto-delete-stale?grace_period_hours=-1",
        "auto-delete-stale?grace_period_hours=8761",
        "auto-delete-stale?grace_period_hours=1.5",
        "auto-delete-stale?grace_period_hours=",
    ],
)
async def test_a_parameter_that_is_not_valid_is_422(
    path: str, admin: httpx.AsyncClient, provider: FakeProvider, connection: asyncpg.Connection[Any]
) -> None:
    await store_sandbox(connection, "1", "stale")
    answer = await admin.post(f"{ADMIN}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert await statuses(connection) == {"1": "stale"}


@pytest.mark.parametrize("path", ["sync", "cleanup", "auto-expire", "auto-delete-stale", "bulk-delete?status=stale"])
async def test_each_asks_for_a_key_of_an_admin_first(path: str, api: httpx.AsyncClient) -> None:
    api.headers = httpx.Headers()
    answer = await api.post(f"{ADMIN}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_missing")


@pytest.mark.parametrize("path", ["sync", "cleanup"])
@pytest.mark.parametrize("has_provider", [False])
async def test_without_a_provider_there_is_nothing_to_call(
    path: str, has_provider: bool, admin: httpx.AsyncClient
) -> None:
    answer = await admin.post(f"{ADMIN}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (503, "provider_not_configured")
