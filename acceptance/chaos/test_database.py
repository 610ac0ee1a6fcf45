"""PostgreSQL dies, hangs, hangs up or is full while it is written to: a clear 503 meanwhile, and then as before."""

import time
from contextlib import closing

import pytest

from acceptance.chaos.assertions import Suffer
from acceptance.chaos.experiment import NewScene
from acceptance.chaos.injections import database as faults
from acceptance.suite.case import DISABLED, case
from acceptance.system.match import accepted
from harness.chaos import small_disk
from harness.chaos.clock import MovedClock, MovedClockError
from harness.postgres.server import Postgres

DISK_KIB = 256 * 1024
DAY_S = 86_400


@case("chaos/004")
def test_postgres_is_killed(scene: NewScene, suffer: Suffer) -> None:
    """kill -9 of PostgreSQL and a start on its data, 10 times: no acknowledged write is lost or doubled (001)."""
    suffered = suffer(
        scene(own_postgres=True), "kill -9 of PostgreSQL", faults.postgres_killed, times=10, recovers_within_s=5.0
    )
    assert not suffered.tally.unanswered, "an outage of the database is a 503, not a dropped connection"


@case("chaos/005")
def test_postgres_is_frozen(scene: NewScene, suffer: Suffer) -> None:
    """PostgreSQL hangs for 10 s, twice: requests end as 503, and what was acknowledged is there (000 A: 5xx)."""
    # It hangs for longer than a lease: what was sent and could not be recorded is sent once more.
    suffered = suffer(
        scene(own_postgres=True),
        "PostgreSQL frozen for 10 s",
        faults.postgres_frozen,
        times=2,
        recovers_within_s=5.0,
        sends_again=4,
    )
    assert not suffered.tally.unanswered


@case("chaos/006")
def test_every_connection_is_cut(scene: NewScene, suffer: Suffer) -> None:
    """All sessions of the database are ended, 10 times: new ones are opened, nobody restarts anything (api.md)."""
    suffered = suffer(
        scene(workers=2), "all database sessions cut", faults.connections_cut, times=10, recovers_within_s=5.0
    )
    assert not suffered.tally.unanswered


@case("chaos/007")
@pytest.mark.whole_run
def test_the_pool_is_exhausted(scene: NewScene, suffer: Suffer) -> None:
    """With one connection that waits for a lock, writes end as 503 and heartbeats go on (performance.md: overload)."""
    one = scene(env={"NEXMDM_DB_POOL_SIZE": "1", "NEXMDM_ALLOCATION_CONNECTIONS": "1"})
    suffered = suffer(one, "pool exhausted", faults.pool_exhausted, times=2, recovers_within_s=5.0)
    assert not suffered.tally.unanswered


@case("chaos/008")
def test_the_disk_is_full(scene: NewScene, suffer: Suffer) -> None:
    """While the database's disk is full writes are 503; when it has room again all is as before (000 A: 5xx)."""
    try:
        with (
            small_disk.mounted(DISK_KIB) as disk,
            Postgres.start(disk.folder) as postgres,
            closing(scene(postgres=postgres)) as one,
        ):
            suffered = suffer(one, "disk full", faults.disk_full(disk, postgres), times=2, recovers_within_s=10.0)
            assert suffered.tally.refused, "it was full, and nobody noticed"
            assert not suffered.tally.unanswered
            accepted(one.system.api.admin("GET", "/v1/devices"))
    except small_disk.SmallDiskError as error:
        pytest.skip(f"{DISABLED}the right to mount a small disk ({error})")


@case("chaos/013")
@pytest.mark.whole_run
def test_the_clock_moves(scene: NewScene, suffer: Suffer) -> None:
    """The database's clock passes midnight and is set back by 10 s: writes go on, each beat in its day (api.md)."""
    midnight = (time.time() // DAY_S + 1) * DAY_S
    try:
        clock = MovedClock(midnight - 120.0 - time.time())
    except MovedClockError as error:
        pytest.skip(f"{DISABLED}{error}")
    with Postgres.start(env=clock.env) as postgres, closing(scene(postgres=postgres, clock=clock.now)) as one:
        # What was due before the clock went back is due so many seconds later.
        suffered = suffer(one, "clock past midnight and back", faults.clock_moved(clock, midnight), times=2)
        assert suffered.tally.acknowledged == suffered.tally.asked, "a clock is no reason to refuse a write"
        days = one.system.db.rows("select distinct (bucket at time zone 'UTC')::date as day from device_heartbeats")
        assert len(days) == 2, "midnight was passed"
