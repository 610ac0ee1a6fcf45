"""What an admin decides about a sandbox, from each state that it can be in."""

from __future__ import annotations

from typing import Any

import asyncpg
import httpx
import pytest
from support.sandboxes import store_allocation, store_sandbox

from nexmdm.sandboxes.types import STATUSES

ROW = "SELECT * FROM sandboxes WHERE sandbox_id = 'one'"


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "deletion_failed"])
async def test_only_a_failed_deletion_is_tried_again(
    status: str, admin: httpx.AsyncClient, connection: asyncpg.Connection[Any]
) -> None:
    await store_sandbox(connection, "one", status)
    before = await connection.fetchrow(ROW)
    answer = await admin.post("/v1/admin/sandboxes/one/retry-deletion")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_deletion_failed")
    assert answer.json()["detail"] == f"The sandbox is {status}."
    assert await connection.fetchrow(ROW) == before


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "allocated"])
async def test_only_an_allocation_is_revoked(
    status: str, admin: httpx.AsyncClient, connection: asyncpg.Connection[Any]
) -> None:
    await store_sandbox(connection, "one", status)
    before = await connection.fetchrow(ROW)
    answer = await admin.post("/v1/admin/sandboxes/one/revoke", json={"reason": "why not"})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_allocated")
    assert answer.json()["detail"] == f"The sandbox is {status}."
    assert await connection.fetchrow(ROW) == before


async def test_all_attempts_are_to_be_had_again(admin: httpx.AsyncClient, connection: asyncpg.Connection[Any]) -> None:
    await store_sandbox(connection, "one", "deletion_failed")
    await connection.execute(
        "UPDATE sandboxes SET delete_attempts = 8, last_error = '500', status_since = to_timestamp(1)"
    )
    answer = await admin.post("/v1/admin/sandboxes/one/retry-deletion")
    seen = answer.json()
    assert (answer.status_code, seen["status"], seen["delete_attempts"], seen["last_error"]) == (
        200,
        "pending_deletion",
        0,
        "500",
    )
    row = await connection.fetchrow(ROW)
    assert row is not None
    assert row["created_at"] < row["status_since"] <= row["next_attempt_at"]
    assert seen["next_attempt_at"] == int(row["next_attempt_at"].timestamp())


async def test_a_revocation_ends_also_what_no_sweep_has_ended_yet(
    admin: httpx.AsyncClient, connection: asyncpg.Connection[Any]
) -> None:
    await store_allocation(connection, "one", at="yesterday")
    answer = await admin.post("/v1/admin/sandboxes/one/revoke", json={"reason": "x" * 500})
    assert (answer.status_code, answer.json()["end_reason"]) == (200, "revoked")
    assert await connection.fetchval("SELECT length(revoke_reason) FROM allocations") == 500
