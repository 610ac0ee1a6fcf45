"""What is measured of the pool, and that an outage leaves it as it was."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.database import settings_for
from support.sandboxes import store_allocation, store_sandbox

from nexmdm.kernel import metrics as kernel_metrics
from nexmdm.kernel.database import Database
from nexmdm.sandboxes import gauges
from nexmdm.sandboxes.types import STATUSES


def value(name: str, **labels: str) -> float:
    for family in text_string_to_metric_families(kernel_metrics.page().decode()):
        for sample in family.samples:
            if sample.name == f"nexmdm_sandboxes_{name}" and sample.labels == labels:
                return sample.value
    raise KeyError(name)


async def test_every_state_is_counted_also_when_it_is_empty_again(
    db: Database, connection: asyncpg.Connection[Any]
) -> None:
    for number, status in enumerate(STATUSES):
        await store_sandbox(connection, str(number), status)
    await store_sandbox(connection, "more", "available")
    await gauges.measure(db)
    assert {status: value("pool", status=status) for status in STATUSES} == {
        **dict.fromkeys(STATUSES, 1),
        "available": 2,
    }
    await connection.execute("DELETE FROM sandboxes")
    await gauges.measure(db)
    assert {value("pool", status=status) for status in STATUSES} == {0}


async def test_the_oldest_deletion_is_as_old_as_its_request(db: Database, connection: asyncpg.Connection[Any]) -> None:
    await gauges.measure(db)
    assert value("oldest_pending_deletion_seconds") == 0
    await store_allocation(connection, "1", at="2026-01-01", ended="released", hours=1)
    await connection.execute("UPDATE allocations SET ended_at = now() - interval '2 h'")
    await gauges.measure(db)
    assert 7200 <= value("oldest_pending_deletion_seconds") < 7260
    await connection.execute("UPDATE sandboxes SET status = 'deletion_failed', next_attempt_at = NULL")
    await gauges.measure(db)
    assert value("oldest_pending_deletion_seconds") == 0


async def test_the_last_good_sync_is_the_last_that_was_applied(
    db: Database, connection: asyncpg.Connection[Any]
) -> None:
    await gauges.measure(db)
    assert (value("last_good_sync_seconds"), value("still_listed")) == (0, 0)
    run = "INSERT INTO sync_runs (started_at, finished_at, outcome, still_listed) VALUES "
    await connection.execute(f"{run} (now() - interval '3 h', now() - interval '3 h', 'failed', 0)")
    await gauges.measure(db)
    assert 10_800 <= value("last_good_sync_seconds") < 10_860
    await connection.execute(f"{run} (now() - interval '2 h', now() - interval '2 h', 'completed', 3)")
    await connection.execute(f"{run} (now(), now(), 'refused', 0)")
    await gauges.measure(db)
    assert 7200 <= value("last_good_sync_seconds") < 7260
    assert value("still_listed") == 3


@pytest.mark.parametrize("opened", [True, False])
async def test_an_open_circuit_shows(opened: bool, db: Database, connection: asyncpg.Connection[Any]) -> None:
    if opened:
        await connection.execute("UPDATE breaker SET open_until = now()")
    await gauges.measure(db)
    assert value("breaker_open") == opened


async def test_an_outage_leaves_what_was_measured(
    db: Database, connection: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await store_sandbox(connection, "1")
    monkeypatch.setattr(gauges, "_TICK_S", 0.01)
    real, stop, fails = gauges.measure, asyncio.Event(), [OSError("away")]
    seen: list[float] = []

    async def measure(db: Database) -> None:
        seen.append(value("pool", status="available"))
        if len(seen) == 2:
            raise fails.pop()
        await real(db)
        if len(seen) == 3:
            stop.set()

    monkeypatch.setattr(gauges, "measure", measure)
    async with asyncio.timeout(5):
        await gauges.keep_measuring(db, settings_for("postgresql://unused"), stop)
    assert seen[1:] == [1, 1]
    assert fails == []
