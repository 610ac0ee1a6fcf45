"""What the database decides of a request for a sandbox: one call of one function, or a look that changes nothing.

It knows no HTTP. Invariants, each kept by the database: a sandbox is given once, ever; a track has one at a time; what
was answered with an idempotency key is known to it for as long as the ledger has the row. A free row that is promised
to a request in the queue (`waiting`) is not free to others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

import asyncpg

from nexmdm.kernel.database import Database
from nexmdm.kernel.log import emit
from nexmdm.kernel.statements import NoConnectionError, Statements
from nexmdm.sandboxes import metrics
from nexmdm.sandboxes.events import EXPIRED
from nexmdm.sandboxes.settings import SandboxSettings

_WAIT_S: Final = 2  # for a lock, or for a connection
LEASE_S: Final = 3.0  # of a place in the queue: so long are rows promised to a request whose process has died

# A plan is made once for each connection, for any arguments: left to itself the planner makes that of the pick again in
# each call, a third of what an allocation costs the database. What lasts must suit a pool that has grown since.
_SESSION: Final = f"""
    SET lock_timeout = '{_WAIT_S}s';
    SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off
"""
_CALL: Final = "SELECT * FROM nexmdm_allocate_sandbox($1, $2, $3, $4, $5, $6, $7, $8, $9)"
# One snapshot for all waiting requests, taken after each of them came: one that is told `exhausted` has waited through
# a moment in which nothing was free to it. LIMIT keeps the planner on the indexes, whatever it believes of the arrays.
_LOOK: Final = """
    WITH queue AS MATERIALIZED (
        SELECT track_id, row_number() OVER (ORDER BY rank) AS place FROM waiters
        WHERE seen_at > now() - interval '60 s' AND parked_until > now()
    ), pool AS MATERIALIZED (
        SELECT count(*) AS free, (SELECT count(*) FROM queue) AS waiting FROM (
            SELECT FROM sandboxes WHERE status = 'available' ORDER BY pick_key LIMIT (SELECT count(*) + 1 FROM queue)
        ) AS available
    )
    SELECT
        CASE
            WHEN good.role IS NULL THEN 'refused'
            WHEN pool.free > CASE
                WHEN mine.place IS NULL THEN pool.waiting WHEN asked.waits THEN mine.place - 1 ELSE pool.waiting - 1
            END THEN 'call'
            WHEN keyed.allocation_id IS NOT NULL AND (keyed.ended_at IS NOT NULL OR NOT keyed.in_grace) THEN 'ended'
            WHEN live.in_grace THEN 'replay'
            WHEN live.allocation_id IS NOT NULL OR asked.waits AND mine.place IS NULL THEN 'call'
            ELSE 'exhausted'
        END AS outcome,
        live.sandbox_id, live.name, live.external_id, live.allocated_at, live.expires_at, live.track_name,
        coalesce(good.is_due, false) AS key_is_due, mine.place IS NOT NULL AS parked
    FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[])
        WITH ORDINALITY AS asked (key_hash, track_id, idempotency_key, waits, ord)
    CROSS JOIN pool
    LEFT JOIN queue AS mine ON mine.track_id = asked.track_id
    LEFT JOIN LATERAL (
        SELECT k.role, k.last_used_at IS NULL OR k.last_used_at <= now() - interval '1 minute' AS is_due
        FROM api_keys AS k
        WHERE k.key_hash = asked.key_hash AND k.revoked_at IS NULL AND k.role = 'track'
            AND (k.services IS NULL OR 'sandboxes' = ANY (k.services))
        LIMIT 1
    ) AS good ON true
    LEFT JOIN LATERAL (
        SELECT a.allocation_id, a.ended_at, a.grace_until >= clock_timestamp() AS in_grace FROM allocations AS a
        WHERE a.track_id = asked.track_id AND a.idempotency_key = asked.idempotency_key
        LIMIT 1
    ) AS keyed ON true
    LEFT JOIN LATERAL (
        SELECT a.*, s.name, s.external_id, a.grace_until >= clock_timestamp() AS in_grace
        FROM allocations AS a JOIN sandboxes AS s ON s.sandbox_id = a.sandbox_id
        WHERE a.track_id = asked.track_id AND a.ended_at IS NULL
        LIMIT 1
    ) AS live ON true
    ORDER BY asked.ord
"""
_GIVEN: Final = frozenset({"new", "replay"})


class Contended(Exception):
    """There are free sandboxes, or may be, but too many reach for them at once: the caller may try again."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for a sandbox. `key_hash`: of the caller's API key. `waits`: it is, or is to be, in the queue."""

    key_hash: str
    track_id: str
    track_name: str | None
    idempotency_key: str | None
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """The sandbox that the track has."""

    sandbox_id: str
    name: str
    external_id: str
    allocated_at: datetime
    expires_at: datetime
    track_name: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a request: new, replay, exhausted, ended, or refused where the key is not good.

    `key_is_due`: that the key was used should be noted. `parked`: it has a place in the queue.
    """

    outcome: str
    key_is_due: bool
    parked: bool
    given: Given | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """The decision in a row of the function or of a look."""
        given = Given(*(row[name] for name in Given.__dataclass_fields__)) if row["outcome"] in _GIVEN else None
        return cls(row["outcome"], row["key_is_due"], row["parked"], given)


class Decisions:
    """Asks the function, or looks. Use as `async with Decisions(db, settings) as decisions`."""

    def __init__(self, db: Database, settings: SandboxSettings) -> None:
        self._statements = Statements(db, settings.allocation_connections, wait_s=_WAIT_S, session=_SESSION)
        self._settings = settings

    async def __aenter__(self) -> Self:
        await self._statements.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._statements.__aexit__()

    async def call(self, ask: Ask) -> Decision:
        """Allocate; or tell why not. `contended`: there is a free row, and others hold it."""
        settings = self._settings
        [row] = await self.fetch(
            _CALL,
            ask.key_hash,
            ask.track_id,
            ask.track_name,
            ask.idempotency_key,
            settings.sandbox_duration_s,
            settings.sandbox_grace_s,
            settings.sandbox_max_duration_s,
            LEASE_S if ask.waits else 0,
            settings.max_waiters,
        )
        if row["ended_id"] is not None:  # past its grace, and the sweep has not yet come by
            metrics.expired.inc()
            emit(EXPIRED, sandbox_id=row["ended_id"], track_id=ask.track_id, track_name=row["ended_name"])
        return Decision.of(row)

    async def look(self, asks: Sequence[Ask]) -> list[Decision]:
        """What is decided without a change, in one statement for all; `call`: ask the function."""
        rows = await self.fetch(
            _LOOK,
            [ask.key_hash for ask in asks],
            [ask.track_id for ask in asks],
            [ask.idempotency_key for ask in asks],
            [ask.waits for ask in asks],
        )
        return [Decision.of(row) for row in rows]

    async def fetch(self, statement: str, *arguments: Any) -> list[Any]:
        """Rows of a statement that is its own transaction.

        Raises:
            Contended: a lock, or a connection while all are in use, took too long.
        """
        try:
            return await self._statements.fetch(statement, *arguments)
        except (
            NoConnectionError,
            asyncpg.LockNotAvailableError,
            asyncpg.QueryCanceledError,
            asyncpg.DeadlockDetectedError,
            asyncpg.UniqueViolationError,
        ) as error:
            raise Contended from error
