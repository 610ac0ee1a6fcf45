"""Sync: brings the pool in line with the provider's list. It gives nothing out, and takes nothing from a student.

No row is locked but those that differ, 200 at a time: a lock on an available row makes the pool look smaller. What the
list says is compared by plain reads, and every change asks once more whether the row is still one of the pool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import TextClause, text

from nexmdm.kernel.database import Database
from nexmdm.kernel.events import DEPENDENCY_AWAY
from nexmdm.kernel.log import emit
from nexmdm.sandboxes import breaker, metrics
from nexmdm.sandboxes.job import BATCH, Report, commit, count
from nexmdm.sandboxes.provider import Accounts, ListUnreadable, Provider, ProviderError
from nexmdm.sandboxes.settings import SandboxSettings
from nexmdm.sandboxes.types import SYNC_CHANGES
from nexmdm.sandboxes.waiting import NEW_SANDBOXES

_ALWAYS_PLAUSIBLE: Final = 5  # stale rows, however small the pool
_PLAUSIBLE_SHARE: Final = 0.2  # of available and stale ones

_BEGIN: Final = text("INSERT INTO sync_runs DEFAULT VALUES RETURNING run_id, started_at")
_END: Final = text(
    """
    UPDATE sync_runs SET finished_at = clock_timestamp(), outcome = :outcome, synced = :synced,
        marked_stale = :stale, skipped = :skipped, still_listed = :still_listed
    WHERE run_id = :run_id RETURNING run_id
    """
)
_LISTED: Final = (
    "unnest(CAST(:ids AS text[]), CAST(:external_ids AS text[]), CAST(:names AS text[])) "
    "AS l (sandbox_id, external_id, name)"
)
_LISTED_IDS: Final = "unnest(CAST(:ids AS text[])) AS l (sandbox_id)"
_DIFFERENCES: Final = text(
    f"""
    SELECT l.sandbox_id, l.external_id, l.name, CASE
        WHEN other.sandbox_id IS NOT NULL THEN 'skipped'
        WHEN s.sandbox_id IS NULL THEN 'added'
        WHEN s.status = 'stale' THEN 'revived'
        ELSE 'changed' END AS change
    FROM {_LISTED}
    LEFT JOIN sandboxes AS s ON s.sandbox_id = l.sandbox_id
    LEFT JOIN sandboxes AS other ON other.external_id = l.external_id AND other.sandbox_id <> l.sandbox_id
    WHERE other.sandbox_id IS NOT NULL OR s.sandbox_id IS NULL OR s.status = 'stale'
        OR (s.status = 'available' AND (s.external_id, s.name) <> (l.external_id, l.name))
    ORDER BY l.sandbox_id
    """  # noqa: S608 - composed of the constants above
)
_MISSING: Final = text(
    f"""
    SELECT s.sandbox_id FROM sandboxes AS s
    WHERE s.status = 'available' AND s.made_available_at < :started_at
        AND NOT EXISTS (SELECT FROM {_LISTED_IDS} WHERE l.sandbox_id = s.sandbox_id)
    ORDER BY s.sandbox_id
    """  # noqa: S608 - composed of the constants above
)
_STILL_LISTED: Final = text(
    f"""
    SELECT count(*) FROM sandboxes AS s JOIN {_LISTED_IDS} ON l.sandbox_id = s.sandbox_id
    WHERE s.status = 'deleted' AND s.deleted_at < :started_at
    """  # noqa: S608 - composed of the constants above
)
_SIZES: Final = text(
    """
    SELECT count(*) FILTER (WHERE status = 'available') AS available, count(*) FILTER (WHERE status = 'stale') AS stale
    FROM sandboxes WHERE status IN ('available', 'stale')
    """
)
# The lock lets one sync at a time judge whether it is the latest. It holds no row.
_ONE_AT_A_TIME: Final = text("SELECT pg_advisory_xact_lock(1396855379, 0)")
_LATER: Final = text("SELECT run_id FROM sync_runs WHERE started_at > :started_at AND applied_at IS NOT NULL LIMIT 1")
_APPLY: Final = text("UPDATE sync_runs SET applied_at = clock_timestamp() WHERE run_id = :run_id RETURNING run_id")
_ADD: Final = text(
    f"""
    INSERT INTO sandboxes (sandbox_id, external_id, name, status, made_available_at)
    SELECT l.sandbox_id, l.external_id, l.name, 'available', clock_timestamp() FROM {_LISTED} ORDER BY l.sandbox_id
    ON CONFLICT DO NOTHING RETURNING sandbox_id
    """  # noqa: S608 - composed of the constants above
)
_CHANGE: Final = text(
    f"""
    UPDATE sandboxes AS s SET
        external_id = found.external_id, name = found.name, status = 'available',
        status_since = CASE s.status WHEN 'stale' THEN clock_timestamp() ELSE s.status_since END,
        made_available_at = CASE s.status WHEN 'stale' THEN clock_timestamp() ELSE s.made_available_at END
    FROM (
        SELECT f.sandbox_id, l.external_id, l.name FROM sandboxes AS f JOIN {_LISTED} ON l.sandbox_id = f.sandbox_id
        WHERE f.status IN ('available', 'stale') ORDER BY f.sandbox_id FOR NO KEY UPDATE OF f SKIP LOCKED
    ) AS found
    WHERE s.sandbox_id = found.sandbox_id AND s.status IN ('available', 'stale')
    RETURNING s.sandbox_id
    """  # noqa: S608 - composed of the constants above
)
_TELL_THE_QUEUE: Final = text("SELECT pg_notify(:channel, '')")
_MARK_STALE: Final = text(
    """
    UPDATE sandboxes SET status = 'stale', status_since = clock_timestamp() WHERE sandbox_id IN (
        SELECT sandbox_id FROM sandboxes
        WHERE sandbox_id = ANY (CAST(:ids AS text[])) AND status = 'available' AND made_available_at < :started_at
        ORDER BY sandbox_id FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING sandbox_id
    """
)


class _Superseded(Exception):
    """A sync that began later has applied its list."""


class _Implausible(Exception):
    """The list would empty the pool, or much of it."""


@dataclass(slots=True)
class _Run:
    """One sync. `started_at` is of the database's clock, before the list was asked for."""

    db: Database
    run_id: int
    started_at: datetime
    counts: Counter[str] = field(default_factory=Counter)


async def sync(db: Database, provider: Provider, settings: SandboxSettings, *, force: bool = False) -> Report:
    """Ask for the list and apply it. `force`: also where it is implausible.

    Returns: the outcome is completed, failed, refused, implausible, superseded or circuit_open.
    """
    probe = await breaker.probe(db, settings)
    if probe is None:
        try:
            await breaker.check(db)
        except breaker.CircuitOpen as error:
            metrics.syncs.labels("circuit_open").inc()
            return Report(outcome="circuit_open", retry_after_s=error.retry_after_s)
    run = _Run(db, *(await commit(db, _BEGIN))[0])
    outcome = "completed"
    try:
        accounts = await _list(run, provider, settings, probe)
        await _apply(run, accounts, force=force)
    except ListUnreadable:
        outcome = "implausible"
    except ProviderError as error:
        outcome = "failed" if error.status is None or error.status >= 500 else "refused"
    except _Implausible:
        outcome = "implausible"
    except _Superseded:
        outcome = "superseded"
    counts = {name: run.counts[name] for name in ("synced", *SYNC_CHANGES, "still_listed")}
    await commit(db, _END, run_id=run.run_id, outcome=outcome, **counts)
    metrics.syncs.labels(outcome).inc()
    for change in SYNC_CHANGES:
        metrics.sync_rows.labels(change).inc(counts[change])
    return Report(counts, outcome)


async def _list(run: _Run, provider: Provider, settings: SandboxSettings, probe: breaker.Probe) -> Accounts:
    try:
        accounts = await provider.accounts()
    except ProviderError as error:
        emit(DEPENDENCY_AWAY, "error", dependency="provider", error=str(error))
        await breaker.heard(run.db, settings, error.status, probe)
        raise
    await breaker.heard(run.db, settings, 200, probe)
    return accounts


async def _apply(run: _Run, accounts: Accounts, *, force: bool) -> None:
    listed = _columns(accounts.listed)
    differing = await commit(run.db, _DIFFERENCES, **listed)
    by_change = {change: [row for row in differing if row.change == change] for change in SYNC_CHANGES}
    skipped = accounts.skipped + len(by_change["skipped"])
    since = {"ids": listed["ids"], "started_at": run.started_at}
    missing = [row.sandbox_id for row in await commit(run.db, _MISSING, **since)]
    run.counts.update(synced=len(accounts.listed) - len(by_change["skipped"]), skipped=skipped)
    run.counts["still_listed"] = await count(run.db, _STILL_LISTED, **since)
    to_mark = missing if skipped == 0 else []
    if not force:
        await _judge(run, accounts, len(to_mark), len(by_change["revived"]))
    await _batch(run, _APPLY, run_id=run.run_id)
    for change, statement in (("added", _ADD), ("revived", _CHANGE), ("changed", _CHANGE)):
        rows = by_change[change]
        for first in range(0, len(rows), BATCH):
            run.counts[change] += await _batch(run, statement, **_columns(rows[first : first + BATCH]))
            await commit(run.db, _TELL_THE_QUEUE, channel=NEW_SANDBOXES)
    for first in range(0, len(to_mark), BATCH):
        ids = to_mark[first : first + BATCH]
        run.counts["stale"] += await _batch(run, _MARK_STALE, ids=ids, started_at=run.started_at)


async def _judge(run: _Run, accounts: Accounts, to_mark: int, revived: int) -> None:
    """Refuse a list that says too much at once, or bit by bit.

    Raises:
        _Implausible: it is empty while anything is available, or too many would be stale.
    """
    available, stale = (await commit(run.db, _SIZES))[0]
    most = max(_ALWAYS_PLAUSIBLE, _PLAUSIBLE_SHARE * (available + stale))
    if (not accounts.listed and available) or (to_mark and stale - revived + to_mark > most):
        raise _Implausible


async def _batch(run: _Run, statement: TextClause, **parameters: Any) -> int:
    """Change some rows in a transaction of its own, unless a later sync has begun to; gives how many."""
    async with run.db.engine.begin() as connection:
        await connection.execute(_ONE_AT_A_TIME)
        if (await connection.execute(_LATER, {"started_at": run.started_at})).first() is not None:
            raise _Superseded
        return len((await connection.execute(statement, parameters)).all())


def _columns(rows: Sequence[Any]) -> dict[str, list[str]]:
    """Accounts, or rows with their fields, as parameters of `_LISTED`."""
    return {
        "ids": [row.sandbox_id for row in rows],
        "external_ids": [row.external_id for row in rows],
        "names": [row.name for row in rows],
    }
