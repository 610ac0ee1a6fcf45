"""The rows of tasks: the queue is read by its index under the policy, and what was over long ago is forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from nexmdm.kernel.statements import Statements
from nexmdm.platform import task_states
from nexmdm.platform.retention import remove_tasks
from nexmdm.platform.task_states import By
from nexmdm.platform.zone_row import within

TASKS = """
    INSERT INTO tasks (zone_id, task_id, owner, executor, task_type, payload, tier, request_state, enqueued_at, due_at,
        rank, max_attempts, backoff_base_s, backoff_cap_s)
    SELECT 'alpha', gen_random_uuid(), 'o', 'e', 't', '{}', 0, 'pending', now(), now() - n * interval '1 s',
        now() - n * interval '1 s', 3, 1, 300
    FROM generate_series(1, $1::int) AS n
"""
pytestmark = pytest.mark.usefixtures("zone")


async def test_a_claim_reads_the_queue_by_its_index(connection: asyncpg.Connection[Any]) -> None:
    await connection.execute(TASKS, 5000)
    await connection.execute("ANALYZE tasks")
    claim = task_states._CLAIM
    for number, value in enumerate(("'alpha'", "'e'", "50", "30", "NULL", "NULL", "NULL"), 1):
        claim = claim.replace(f"${number}", value)
    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {claim}"))
    queue = plan.partition("CTE c\n")[2].partition("CTE claimed")[0]
    assert "Index Scan using ix_tasks_queue" in queue, plan
    assert "Sort" not in queue, plan


async def test_tasks_are_forgotten_after_their_days(
    engine: AsyncEngine, statements: Statements, zone: UUID, connection: asyncpg.Connection[Any]
) -> None:
    await connection.execute(TASKS, 4)
    async with within(statements, "alpha") as tx:
        await tx.execute("UPDATE zones SET tasks_queued = 4")
        rows = await task_states.claim(tx, By("alpha", zone), "e", 3, 30, None, None)
    now = datetime.now(UTC)
    for row, days in zip(rows, (31, 31, 29), strict=True):
        await connection.execute(
            "UPDATE tasks SET status = 'failed', completed_at = $1, lease_token = NULL, lease_until = NULL"
            " WHERE task_id = $2",
            now - timedelta(days=days),
            row["task_id"],
        )
    assert await remove_tasks(engine, now - timedelta(days=30), now) == (2, True)
    kept = await connection.fetch("SELECT status FROM tasks ORDER BY status")
    assert [row["status"] for row in kept] == ["failed", "queued"]
    assert await connection.fetchval("SELECT count(*) FROM task_attempts") == 1
