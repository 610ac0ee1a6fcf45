"""Who gets a sandbox: one call of one function in the database decides, on a connection without a session around it.

It knows no HTTP. Invariants, each kept by the database: a sandbox is given once, ever; a track has one at a time; what
was answered with an idempotency key is known to it for as long as the ledger has the row.

Requests of one track take turns within a process, so that a crowd of duplicates holds one connection. Once the pool is
dry they share one look at it: see `_LOOK`. A free row that is promised to a request in the queue (`waiting`) is not
free to others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Self

import asyncpg

from nexmdm.kernel.database import Database
from nexmdm.kernel.log import emit
from nexmdm.sandboxes import metrics
from nexmdm.sandboxes.events import EXPIRED
from nexmdm.sandboxes.settings import SandboxSettings

LEASE_S: Final = 3.0  # of a place in the queue: so long are rows promised to a request whose process has died
_LOCK_TIMEOUT_S: Final = 2
_CONTENDED_FOR_S: Final = 0.25
_CONTENDED_PAUSE_S: Final = 0.01

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
            WHEN live.allocation_id IS NULL THEN 'exhausted'
            WHEN live.in_grace THEN 'replay'
            ELSE 'call'
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


_Waiting = list[tuple[Ask, asyncio.Future[Decision]]]


class Allocator:
    """Use as `async with Allocator(db, settings) as allocator`, then `await allocator.allocate(ask)`."""

    def __init__(self, db: Database, settings: SandboxSettings) -> None:
        self._db, self._settings = db, settings
        self._by_track: dict[str, _Waiting] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._dry = False
        self._to_look: _Waiting = []
        self._looking = False

    async def __aenter__(self) -> Self:
        self._pool = await asyncpg.create_pool(
            connect=self._connect,
            reset=_nothing,  # ours is never left in a transaction, and keeps its settings
            min_size=0,
            max_size=self._settings.allocation_connections,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Answer who waits, then end."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.close()

    async def allocate(self, ask: Ask) -> Decision:
        """Decide a request.

        Raises:
            Contended: neither a sandbox nor the certainty that there is none was to be had in time.
        """
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        waiting = self._by_track.get(ask.track_id)
        if waiting is None:
            self._by_track[ask.track_id] = [(ask, answer)]
            self._start(self._take_turns(ask.track_id))
        else:
            waiting.append((ask, answer))
        return await answer

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take_turns(self, track_id: str) -> None:
        while waiting := self._by_track[track_id]:
            self._by_track[track_id] = []
            for ask in dict.fromkeys(ask for ask, _ in waiting):
                answers = [answer for asked, answer in waiting if asked == ask and not answer.done()]
                try:
                    decision = await self._decide(ask)
                except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
                    _fail(answers, error)
                    continue
                for answer in answers:
                    if not answer.done():
                        answer.set_result(decision)
                    if decision.outcome == "new":
                        decision = replace(decision, outcome="replay")
        del self._by_track[track_id]

    async def _decide(self, ask: Ask) -> Decision:
        if self._dry and not ask.waits:
            seen = await self.look(ask)
            if seen.outcome != "call":
                return seen
        loop = asyncio.get_running_loop()
        until = loop.time() + _CONTENDED_FOR_S
        while True:
            decision = await self._call(ask)
            if decision.outcome != "contended":
                self._dry = decision.outcome == "exhausted"
                return decision
            if loop.time() > until:
                raise Contended
            await asyncio.sleep(_CONTENDED_PAUSE_S)

    async def _call(self, ask: Ask) -> Decision:
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

    async def look(self, ask: Ask) -> Decision:
        """What the database says without a change, in one statement for all who ask now; `call`: ask `allocate`."""
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._to_look.append((ask, answer))
        if not self._looking:
            self._looking = True
            self._start(self._look_for_all())
        return await answer

    async def _look_for_all(self) -> None:
        try:
            while waiting := self._to_look:
                self._to_look = []
                asks = [ask for ask, _ in waiting]
                try:
                    rows = await self.fetch(
                        _LOOK,
                        [ask.key_hash for ask in asks],
                        [ask.track_id for ask in asks],
                        [ask.idempotency_key for ask in asks],
                        [ask.waits for ask in asks],
                    )
                except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
                    _fail([answer for _, answer in waiting], error)
                    continue
                for row, (_, answer) in zip(rows, waiting, strict=True):
                    answer.set_result(Decision.of(row))
        finally:
            self._looking = False

    async def fetch(self, statement: str, *arguments: Any) -> list[Any]:
        """Rows of a statement that is its own transaction.

        Raises:
            Contended: a lock, or a connection while all are in use, took too long.
        """
        try:
            connection = await self._pool.acquire(timeout=_LOCK_TIMEOUT_S)
        except TimeoutError as error:
            if self._pool.get_size() < self._settings.allocation_connections:
                raise  # the database did not answer
            raise Contended from error
        try:
            rows: list[Any] = await connection.fetch(statement, *arguments)
        except (
            asyncpg.LockNotAvailableError,
            asyncpg.QueryCanceledError,
            asyncpg.DeadlockDetectedError,
            asyncpg.UniqueViolationError,
        ) as error:
            raise Contended from error
        finally:
            await self._pool.release(connection)
        return rows

    async def _connect(self, *_: Any, **__: Any) -> asyncpg.Connection[Any]:
        connection = await self._db.connect()
        await connection.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT_S}s'")
        return connection


async def _nothing(_connection: object) -> None:
    """What the pool does with a connection that comes back."""


def _fail(answers: list[asyncio.Future[Decision]], error: Exception) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(error)
