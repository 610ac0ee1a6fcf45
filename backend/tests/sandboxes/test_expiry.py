"""The sweep ends allocations past their own grace, and no other; it leaves a locked row alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import asyncpg
from support.sandboxes import store_allocation, store_sandbox

from nexmdm.kernel.database import Database
from nexmdm.sandboxes import expiry, stale
from nexmdm.sandboxes.job import BATCH

Logged = Callable[[], list[dict[str, Any]]]


async def ends_in(connection: asyncpg.Connection[Any], sandbox_id: str, grace_s: float) -> None:
    """An allocation whose grace ends in so many seconds, or did."""
    await store_allocation(connection, sandbox_id, "a lab")
    await connection.execute(
        "UPDATE allocations SET allocated_at = now() - interval '1 h', grace_until = now() + $2 * interval '1 s',"
        " expires_at = least(expires_at, now() + $2 * interval '1 s') WHERE sandbox_id = $1",
        sandbox_id,
        grace_s,
    )


async def states(connection: asyncpg.Connection[Any]) -> dict[str, tuple[str, str | None]]:
    rows = await connection.fetch(
        "SELECT sandbox_id, status, end_reason FROM sandboxes JOIN allocations USING (sandbox_id)"
    )
    return {row["sandbox_id"]: (row["status"], row["end_reason"]) for row in rows}


async def test_who_is_past_his_grace_ends(db: Database, connection: asyncpg.Connection[Any], logged: Logged) -> None:
    await ends_in(connection, "over", -1)
    await ends_in(connection, "in-grace", 60)
    await store_allocation(connection, "given-back", at="2026-01-01", ended="released", hours=1)
    report = await expiry.expire(db, lambda: False)
    assert await states(connection) == {
        "over": ("pending_deletion", "expired"),
        "in-grace": ("allocated", None),
        "given-back": ("pending_deletion", "released"),
    }
    assert report.counts == {"expired": 1}
    row = await connection.fetchrow(
        "SELECT ended_at = date_trunc('second', ended_at) AS whole, next_attempt_at <= now() AS is_due"
        " FROM sandboxes JOIN allocations USING (sandbox_id) WHERE sandbox_id = 'over'"
    )
    assert row is not None
    assert tuple(row) == (True, True)
    assert [line["sandbox_id"] for line in logged() if line["event"] == "sandboxes.expired"] == ["over"]


async def test_all_are_ended_in_short_transactions(db: Database, connection: asyncpg.Connection[Any]) -> None:
    for number in range(BATCH + 1):
        await ends_in(connection, str(number), -1)
    assert (await expiry.expire(db, lambda: False)).counts == {"expired": BATCH + 1}
    sizes = await connection.fetch("SELECT count(*) AS n FROM sandboxes GROUP BY xmin::text ORDER BY n")
    assert [row["n"] for row in sizes] == [1, BATCH]


async def test_what_is_held_is_left_to_its_holder(db: Database, connection: asyncpg.Connection[Any]) -> None:
    for name in ("extended", "over"):
        await ends_in(connection, name, -1)
    holder = await db.connect()
    try:
        await holder.execute(
            "BEGIN; UPDATE allocations SET grace_until = now() + interval '1 h' WHERE sandbox_id = 'extended'"
        )
        assert (await expiry.expire(db, lambda: False)).counts == {"expired": 1}
        await holder.execute("COMMIT")
    finally:
        await holder.close()
    assert (await expiry.expire(db, lambda: False)).counts == {"expired": 0}
    assert await states(connection) == {"extended": ("allocated", None), "over": ("pending_deletion", "expired")}


async def test_a_stale_row_that_a_sync_holds_is_left_to_it(db: Database, connection: asyncpg.Connection[Any]) -> None:
    for name in ("listed", "gone"):
        await store_sandbox(connection, name, "stale")
    holder = await db.connect()
    try:
        await holder.execute("BEGIN; SELECT FROM sandboxes WHERE sandbox_id = 'listed' FOR UPDATE")
        assert (await stale.remove(db, 0, lambda: False)).counts == {"deleted": 1}
    finally:
        await holder.close()
    assert await connection.fetchval("SELECT sandbox_id FROM sandboxes") == "listed"
