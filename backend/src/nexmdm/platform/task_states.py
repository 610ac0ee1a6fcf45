"""The states of a task: every statement that changes one, with the events and the quota that go with it.

| from | to | by |
|---|---|---|
| - | queued | submit |
| queued | running | claim, under a lease |
| running | completed | complete |
| running | queued, failed | fail, the end of the lease: attempts are left; none are, or the deadline is over |
| running | cancelled | fail, the end of the lease, after cancel |
| queued | cancelled, failed | cancel; the deadline |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg

from nexmdm.kernel.problems import Problem
from nexmdm.platform.problems import LEASE_LOST, STALE_GENERATION, TASK_NOT_FOUND
from nexmdm.platform.types import MOST_AGING_S, EventType
from nexmdm.platform.zone_row import Change, commit_changes

EVENTS: Final[dict[str, EventType]] = {
    "queued": "task.retried",
    "completed": "task.completed",
    "failed": "task.failed",
    "cancelled": "task.cancelled",
}

Tx: TypeAlias = "asyncpg.Connection[Any]"
Rows: TypeAlias = "list[asyncpg.Record]"

_SUBMIT: Final = """
    INSERT INTO tasks (zone_id, task_id, owner, executor, task_type, payload, tier, request_state, not_before, deadline,
        idempotency_key, body_hash, max_attempts, backoff_base_s, backoff_cap_s, enqueued_at, due_at, rank)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, now.at, greatest(now.at, $9),
        greatest(now.at, $9) + make_interval(secs => $7::int * $16::float8)
    FROM (SELECT clock_timestamp() AS at) AS now
    ON CONFLICT (zone_id, owner, idempotency_key) DO UPDATE SET idempotency_key = EXCLUDED.idempotency_key
    RETURNING *
"""
# `now()`, which an index can be asked for: the transaction has begun after whatever was committed before.
_CLAIM: Final = f"""
    WITH c AS MATERIALIZED (
        SELECT zone_id, task_id FROM tasks
        WHERE zone_id = $1 AND executor = $2 AND status = 'queued' AND due_at <= now()
            AND rank <= now() + interval '{4 * MOST_AGING_S} s' AND (deadline IS NULL OR deadline > now())
        ORDER BY rank, sequence_number LIMIT $3 FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE tasks AS t SET status = 'running', attempt = t.attempt + 1, lease_token = gen_random_uuid(),
            lease_until = least(clock_timestamp() + make_interval(secs => $4), t.deadline), lease_s = $4,
            claimed_by = $5, agent_uid = $6, generation = $7, started_at = coalesce(t.started_at, clock_timestamp())
        FROM c WHERE t.zone_id = c.zone_id AND t.task_id = c.task_id RETURNING t.*
    ), begun AS (
        INSERT INTO task_attempts (zone_id, task_id, number) SELECT zone_id, task_id, attempt FROM claimed
    )
    SELECT * FROM claimed ORDER BY rank, sequence_number
"""  # noqa: S608 - composed of the constant above
# $4: an agent, which holds no lease of another executor. A lease of a session that is over is void.
_HELD: Final = """
    zone_id = $1 AND task_id = $2 AND status = 'running' AND lease_token = $3 AND lease_until > clock_timestamp()
        AND executor = coalesce($4, executor) AND (agent_uid IS NULL OR EXISTS (
            SELECT FROM agents AS a WHERE a.zone_id = tasks.zone_id AND a.agent_id = tasks.claimed_by
                AND a.uid = tasks.agent_uid AND a.generation = tasks.generation))
"""
_WHY_NOT: Final = """
    SELECT lease_token = $3 AND lease_until > clock_timestamp() IS TRUE AS is_stale FROM tasks
    WHERE zone_id = $1 AND task_id = $2 AND executor = coalesce($4, executor)
"""
_RENEW: Final = f"""
    UPDATE tasks SET lease_until = CASE
        WHEN cancel_requested THEN lease_until
        ELSE least(clock_timestamp() + make_interval(secs => lease_s), deadline)
    END
    WHERE {_HELD} RETURNING lease_until, cancel_requested
"""  # noqa: S608 - as above
_COMPLETE: Final = f"""
    WITH ended AS (
        UPDATE tasks SET status = 'completed', completed_at = clock_timestamp(), result = $5, error_message = NULL,
            lease_token = NULL, lease_until = NULL
        WHERE {_HELD} RETURNING *
    ), attempt AS (
        UPDATE task_attempts AS a SET ended_at = clock_timestamp(), outcome = 'completed' FROM ended AS e
        WHERE a.zone_id = e.zone_id AND a.task_id = e.task_id AND a.number = e.attempt
    )
    SELECT * FROM ended
"""  # noqa: S608 - as above
# What becomes of tasks whose attempt has failed. $5: by how much one tier comes later than the next.
_END_ATTEMPT: Final = """
    WITH held AS MATERIALIZED (
        SELECT *, deadline <= clock_timestamp() IS TRUE AS is_late FROM tasks WHERE {which}
    ), verdict AS MATERIALIZED (
        SELECT zone_id, task_id, is_late, CASE
                WHEN cancel_requested THEN 'cancelled'
                WHEN {retryable} AND attempt < max_attempts AND NOT is_late THEN 'queued'
                ELSE 'failed'
            END AS status,
            clock_timestamp() + make_interval(secs =>
                least(backoff_cap_s, backoff_base_s * 2 ^ (attempt - 1)) * (0.5 + random() / 2)) AS due_at
        FROM held
    ), ended AS (
        UPDATE tasks AS t SET status = v.status, lease_token = NULL, lease_until = NULL,
            due_at = CASE v.status WHEN 'queued' THEN v.due_at ELSE t.due_at END,
            rank = CASE v.status
                WHEN 'queued' THEN v.due_at + make_interval(secs => t.tier * $5::float8) ELSE t.rank END,
            completed_at = CASE v.status WHEN 'queued' THEN NULL ELSE clock_timestamp() END,
            error_message = CASE WHEN v.is_late THEN 'deadline_exceeded' ELSE {error} END
        FROM verdict AS v WHERE t.zone_id = v.zone_id AND t.task_id = v.task_id RETURNING t.*
    ), attempts AS (
        UPDATE task_attempts AS a SET ended_at = clock_timestamp(), outcome = {outcome}, error = {error}
        FROM ended AS e WHERE a.zone_id = e.zone_id AND a.task_id = e.task_id AND a.number = e.attempt
    )
    SELECT * FROM ended ORDER BY task_id
"""
_FAIL: Final = _END_ATTEMPT.format(
    which=f"{_HELD} FOR UPDATE",
    retryable="$6::boolean",
    error="$7::text",
    outcome="CASE WHEN $8::boolean AND e.cancel_requested THEN 'cancelled' ELSE 'failed' END",
)
_EXPIRE: Final = _END_ATTEMPT.replace("$5", "$3").format(
    which="""zone_id = $1 AND status = 'running' AND lease_until <= clock_timestamp()
        ORDER BY task_id LIMIT $2 FOR UPDATE SKIP LOCKED""",
    retryable="true",
    error="'lease_expired'",
    outcome="'expired'",
)
_CANCEL: Final = """
    UPDATE tasks SET cancel_requested = true, status = CASE status WHEN 'queued' THEN 'cancelled' ELSE status END,
        completed_at = CASE status WHEN 'queued' THEN clock_timestamp() END
    WHERE zone_id = $1 AND task_id = $2 AND owner = coalesce($3, owner)
        AND status IN ('queued', 'running') AND NOT cancel_requested
    RETURNING *
"""
_MISS_DEADLINE: Final = """
    WITH late AS MATERIALIZED (
        SELECT zone_id, task_id FROM tasks WHERE zone_id = $1 AND status = 'queued' AND deadline <= clock_timestamp()
        ORDER BY task_id LIMIT $2 FOR UPDATE SKIP LOCKED
    )
    UPDATE tasks AS t SET status = 'failed', completed_at = clock_timestamp(), error_message = 'deadline_exceeded'
    FROM late WHERE t.zone_id = late.zone_id AND t.task_id = late.task_id RETURNING t.*
"""


@dataclass(frozen=True, slots=True)
class By:
    """Who changes tasks: in which zone, and not in a later one of its id; as which agent. The loops are nobody."""

    zone_id: str
    zone_uid: UUID | None = None
    agent_id: str | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """What an executor shows. `only`: the one executor whose leases it may hold."""

    task_id: UUID
    token: UUID
    only: str | None


async def _commit(
    tx: Tx, by: By, tasks: Rows, event: EventType | None = None, tasks_queued: int = 0, tasks_requeued: int = 0
) -> None:
    """`event`: of each task; by default that of the state which it has come to."""
    change = Change(
        type=None, zone_uid=by.zone_uid, agent_id=by.agent_id, tasks_queued=tasks_queued, tasks_requeued=tasks_requeued
    )
    events = [(event or EVENTS[task["status"]], str(task["task_id"])) for task in tasks]
    await commit_changes(tx, by.zone_id, change, events)


async def submit(tx: Tx, by: By, task_id: UUID, *values: Any, aging_s: float) -> asyncpg.Record:
    """The task; where its owner has used the idempotency key before the first one, which has another id."""
    row = await tx.fetchrow(_SUBMIT, by.zone_id, task_id, *values, aging_s)
    assert row is not None
    if row["task_id"] == task_id:
        await _commit(tx, by, [row], "task.submitted", tasks_queued=1)
    return row


async def claim(
    tx: Tx, by: By, executor: str, limit: int, lease_s: float, agent_uid: UUID | None, generation: int | None
) -> Rows:
    """The first tasks that are due, under leases; nothing is changed where there are none."""
    rows: Rows = await tx.fetch(_CLAIM, by.zone_id, executor, limit, lease_s, by.agent_id, agent_uid, generation)
    if rows:
        await _commit(tx, by, rows, "task.claimed", tasks_queued=-len(rows))
    return rows


async def renew(tx: Tx, by: By, lease: Lease) -> asyncpg.Record:
    """The end of the lease, moved on unless the task is to be cancelled. Problem: the lease is not held."""
    return await _held(tx, by, lease, _RENEW)


async def complete(tx: Tx, by: By, lease: Lease, result: str | None) -> asyncpg.Record:
    """The task. Problem: the lease is not held."""
    row = await _held(tx, by, lease, _COMPLETE, result)
    await _commit(tx, by, [row])
    return row


async def fail(
    tx: Tx, by: By, lease: Lease, error: str, *, retryable: bool, cancelled: bool, aging_s: float
) -> asyncpg.Record:
    """The task, queued again where it may be. Problem: the lease is not held."""
    row = await _held(tx, by, lease, _FAIL, aging_s, retryable, error, cancelled)
    await _commit(tx, by, [row], tasks_requeued=int(row["status"] == "queued"))
    return row


async def expire(tx: Tx, zone_id: str, most: int, aging_s: float) -> Rows:
    """Tasks whose lease has ended, as if their attempt had failed."""
    rows: Rows = await tx.fetch(_EXPIRE, zone_id, most, aging_s)
    if rows:
        await _commit(tx, By(zone_id), rows, tasks_requeued=sum(row["status"] == "queued" for row in rows))
    return rows


async def miss_deadline(tx: Tx, zone_id: str, most: int) -> Rows:
    """Tasks that nobody has claimed in time."""
    rows: Rows = await tx.fetch(_MISS_DEADLINE, zone_id, most)
    if rows:
        await _commit(tx, By(zone_id), rows, tasks_queued=-len(rows))
    return rows


async def cancel(tx: Tx, by: By, task_id: UUID, owner: str | None) -> asyncpg.Record | None:
    """The task, cancelled or to be; None where this call has changed nothing."""
    row = await tx.fetchrow(_CANCEL, by.zone_id, task_id, owner)
    if row is not None:
        over = row["status"] == "cancelled"
        await _commit(tx, by, [row] if over else [], tasks_queued=-int(over))
    return row


async def _held(tx: Tx, by: By, lease: Lease, statement: str, *values: Any) -> asyncpg.Record:
    shown = by.zone_id, lease.task_id, lease.token, lease.only
    row = await tx.fetchrow(statement, *shown, *values)
    if row is None:
        found = await tx.fetchrow(_WHY_NOT, *shown)
        if found is None:
            raise Problem(TASK_NOT_FOUND)
        raise Problem(STALE_GENERATION if found["is_stale"] else LEASE_LOST)
    return row
