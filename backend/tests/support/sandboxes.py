"""Rows of the pool and the ledger. It asserts nothing."""

from __future__ import annotations

from typing import Any

import asyncpg

_MUST_HAVE = {  # what the table's constraints ask of a row in this state
    "available": ("made_available_at", "now()"),
    "allocated": ("first_allocated_at", "now()"),
    "pending_deletion": ("next_attempt_at", "now() + interval '1 hour'"),
    "deleting": ("lease_id, lease_until", "gen_random_uuid(), now() + interval '1 minute'"),
    "deleted": ("deleted_at", "now()"),
}
_ALLOCATION = """
    INSERT INTO allocations (
        sandbox_id, track_id, track_name, duration_s, allocated_at, expires_at, grace_until, deadline,
        ended_at, end_reason, revoke_reason
    ) VALUES (
        $1, $1, $2, 14400, $3::text::timestamptz, $3::text::timestamptz + interval '4 h',
        $3::text::timestamptz + interval '5 h', $3::text::timestamptz + interval '8 h',
        $3::text::timestamptz + $4 * interval '1 h', $5, CASE WHEN $5 = 'revoked' THEN 'a reason' END
    )
"""


async def store_sandbox(connection: asyncpg.Connection[Any], sandbox_id: str, status: str = "available") -> None:
    """A sandbox in a state."""
    names, values = _MUST_HAVE.get(status, ("last_error", "NULL"))
    await connection.execute(
        f"INSERT INTO sandboxes (sandbox_id, external_id, name, status, {names}) VALUES ($1, $1, $1, $2, {values})",
        sandbox_id,
        status,
    )


async def store_allocation(
    connection: asyncpg.Connection[Any],
    sandbox_id: str,
    lab: str | None = None,
    *,
    at: str = "now",
    ended: str | None = None,
    hours: float | None = None,
) -> None:
    """A sandbox that a track of the same name was given; `ended`: how it has ended, `hours` later."""
    await store_sandbox(connection, sandbox_id, "allocated" if ended is None else "pending_deletion")
    await connection.execute(_ALLOCATION, sandbox_id, lab, at, hours, ended)
