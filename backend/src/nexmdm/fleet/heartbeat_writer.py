"""The heartbeat writer: many requests, one statement per round trip, each durable before its answer. It knows no HTTP.

One long-lived task per process owns one connection. Requests queue a beat and wait; the task takes all that has
gathered and writes it in one statement. Batches form by themselves while a statement is under way: an idle server
writes each beat at once.

Invariants, each kept by the statement and not by this process:
- at most one row per device and 10 s bucket: the unique constraint decides, across workers and replicas;
- last_seen and last_status always move, to the newest, also when the beat is a duplicate;
- a beat of a retired or re-enrolled device (`token_version`) stores nothing: the cache of tokens is never the judge;
- rows are locked in the order of device_id, so that two writers cannot wait for one another.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address
from time import perf_counter
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

import asyncpg

from nexmdm.kernel.database import Database, is_unavailable
from nexmdm.kernel.events import DB_OPERATION
from nexmdm.kernel.load_shedding import reject_overloaded
from nexmdm.kernel.log import emit

MAX_BATCH: Final = 500

# Column of device_heartbeats -> its type in the statement's arrays.
COLUMNS: Final = {
    "ip": "text",  # cast in the statement: asyncpg would parse every address anew
    "status": "text",
    "battery_pct": "int",
    "plugged": "bool",
    "temp_c": "double precision",
    "network_type": "text",
    "signal_dbm": "int",
    "uptime_s": "bigint",
    "ram_used_mb": "int",
    "unity_pkg_version": "text",
    "unity_running": "bool",
    "agent_version": "text",
}
_TYPES: Final = {"ord": "int", "device_id": "uuid", "token_version": "int", **COLUMNS}
_ARRAYS: Final = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(_TYPES.values(), 1))
_NAMES: Final = ", ".join(COLUMNS)
_VALUES: Final = _NAMES.replace("ip", "ip::inet", 1)

_STORE: Final = f"""
    WITH beat AS (
        SELECT * FROM unnest({_ARRAYS}) AS t({", ".join(_TYPES)})
    ), known AS (
        SELECT beat.*, date_bin('10 seconds', now(), timestamptz 'epoch') AS bucket
        FROM beat JOIN devices AS d USING (device_id)
        WHERE d.token_version = beat.token_version AND d.retired_at IS NULL
    ), first AS (
        SELECT DISTINCT ON (device_id) * FROM known ORDER BY device_id, ord
    ), newest AS (
        SELECT DISTINCT ON (device_id) * FROM known ORDER BY device_id, ord DESC
    ), stored AS (
        INSERT INTO device_heartbeats (device_id, bucket, ts, {_NAMES})
        SELECT device_id, bucket, now(), {_VALUES} FROM first ORDER BY device_id
        ON CONFLICT (device_id, bucket) DO NOTHING
        RETURNING device_id
    ), moved AS (
        INSERT INTO device_status AS s (device_id, last_seen, last_status)
        SELECT device_id, now(), status FROM newest ORDER BY device_id
        ON CONFLICT (device_id) DO UPDATE
        SET last_seen = greatest(s.last_seen, excluded.last_seen), last_status = excluded.last_status
    ), updated AS (
        SELECT d.device_id, newest.agent_version FROM newest JOIN devices AS d USING (device_id)
        WHERE newest.agent_version <> d.agent_version ORDER BY d.device_id FOR NO KEY UPDATE OF d
    ), renewed AS (
        UPDATE devices AS d SET agent_version = updated.agent_version, updated_at = greatest(now(), d.registered_at)
        FROM updated WHERE d.device_id = updated.device_id
    )
    SELECT known.ord, known.bucket, first.ord IS NOT NULL AND stored.device_id IS NOT NULL AS ingested
    FROM known
    LEFT JOIN first ON first.ord = known.ord
    LEFT JOIN stored ON stored.device_id = first.device_id
"""  # noqa: S608 - composed of the constants above
_ENSURE_PARTITIONS: Final = "SELECT nexmdm_ensure_heartbeat_partitions(current_date - 1, current_date + 3)"


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat to store. Of `fields` the columns of COLUMNS count; what was not sent is None or absent."""

    device_id: UUID
    token_version: int
    fields: dict[str, Any]
    ip: str | None


class Stored(NamedTuple):
    """What became of a beat: `ingested` is False for a duplicate in its bucket, which is in UTC."""

    bucket: datetime
    ingested: bool


class HeartbeatWriter:
    """Use as `async with HeartbeatWriter(db, 2_000) as writer`, then `await writer.submit(beat)` from any request."""

    def __init__(self, db: Database, most_waiting: int) -> None:
        self._db, self._most_waiting = db, most_waiting
        self._waiting: list[tuple[Beat, asyncio.Future[Stored | None]]] = []
        self._work = asyncio.Event()
        self._closing = False
        self._connection: asyncpg.Connection[Any] | None = None
        self._wrote_at = 0.0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()  # asking again for each beat is a system call each, up to Python 3.11
        self._task = asyncio.create_task(self._run(), name="heartbeat-writer")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Write what waits, then end."""
        self._closing = True
        self._work.set()
        await self._task
        await self._disconnect()

    def is_alive(self) -> bool:
        """The database has taken a batch within the last second, and has not hung up since."""
        connection = self._connection
        return connection is not None and not connection.is_closed() and perf_counter() - self._wrote_at < 1.0

    def submit(self, beat: Beat) -> asyncio.Future[Stored | None]:
        """Have a beat made durable. The result is None where the device is retired or its token was replaced.

        Raises, as its result may:
            Problem: `overloaded` where too many beats wait already.
        """
        if len(self._waiting) >= self._most_waiting:
            raise reject_overloaded("heartbeats")
        answer: asyncio.Future[Stored | None] = self._loop.create_future()
        self._waiting.append((beat, answer))
        self._work.set()
        return answer

    async def _run(self) -> None:
        while not (self._closing and not self._waiting):
            await self._work.wait()
            self._work.clear()
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._write(batch)

    async def _write(self, batch: list[tuple[Beat, asyncio.Future[Stored | None]]]) -> None:
        try:
            stored = await self._store([beat for beat, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
            if is_unavailable(error):
                await self._disconnect()
            elif len(batch) > 1:
                # One row is at fault: it must not fail the others.
                for single in batch:
                    await self._write([single])
                return
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
            return
        for position, (_, answer) in enumerate(batch):
            if not answer.done():  # the client may have gone away meanwhile; its beat is stored all the same
                answer.set_result(stored.get(position))

    async def _store(self, beats: list[Beat]) -> dict[int, Stored]:
        arguments = [
            list(range(len(beats))),
            [beat.device_id for beat in beats],
            [beat.token_version for beat in beats],
            [_address(beat.ip) for beat in beats],
            *([beat.fields.get(name) for beat in beats] for name in list(COLUMNS)[1:]),
        ]
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._db.connect()
        started = perf_counter()
        try:
            rows = await self._connection.fetch(_STORE, *arguments)
        except asyncpg.TransactionRollbackError:  # a deadlock with somebody else: nothing was written
            rows = await self._connection.fetch(_STORE, *arguments)
        except asyncpg.CheckViolationError as error:
            if error.constraint_name is not None:  # where a partition is missing there is none; the text is translated
                raise
            await self._connection.execute(_ENSURE_PARTITIONS)  # nobody made today's partition: a clock has jumped
            rows = await self._connection.fetch(_STORE, *arguments)
        self._wrote_at = perf_counter()
        latency_ms = round((self._wrote_at - started) * 1000, 3)
        emit(
            DB_OPERATION,
            "debug",
            operation="create",
            entity="device_heartbeats",
            keys={"beats": len(beats)},
            latency_ms=latency_ms,
        )
        return {row["ord"]: Stored(row["bucket"], row["ingested"]) for row in rows}

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


@lru_cache(100_000)
def _address(ip: str | None) -> str | None:
    try:
        return str(ip_address(ip)) if ip else None
    except ValueError:  # a unix socket or a test client
        return None
