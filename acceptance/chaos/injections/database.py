"""Faults of PostgreSQL: killed, hanging, hanging up, busy, full, or at another time of day. Does not change a row."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
from psycopg import sql

from acceptance.chaos.experiment import ALL, FLEET, Fault, Scene
from acceptance.chaos.operations import new_track
from acceptance.system.system import new_alias
from harness.chaos.clock import MovedClock
from harness.chaos.small_disk import SmallDisk
from harness.devices.seeded_fleet import FleetDevice
from harness.postgres.server import Postgres
from harness.waiting import eventually

FROZEN_S = 10.0
SLOW_S = 8.0
BACK_S = 10.0  # what was due before the clock went back is due so many seconds later
STANDS_S, RUNS_S = 0.5, 0.05  # of a slow server, in turn


@contextmanager
def postgres_killed(scene: Scene) -> Iterator[None]:
    """kill -9 of every process, and a start on the same data: crash recovery."""
    postgres = scene.system.running.postgres
    scene.system.db.close()
    postgres.kill()
    try:
        scene.met()
        yield
    finally:
        postgres.restart()


@contextmanager
def postgres_frozen(scene: Scene) -> Iterator[None]:
    """Every process stopped: connections hang, none is refused."""
    postgres = scene.system.running.postgres
    until = time.monotonic() + FROZEN_S
    postgres.pause()
    try:
        scene.met()
        eventually(lambda: time.monotonic() >= until, FROZEN_S + 1, what="the end of the frost")
        yield
    finally:
        postgres.resume()


@contextmanager
def postgres_slow(scene: Scene) -> Iterator[None]:
    """It stands still for most of the time, as with a disk that is overloaded: all is done, and takes long."""
    postgres, over = scene.system.running.postgres, threading.Event()
    until = time.monotonic() + SLOW_S

    def slow() -> None:
        while not over.wait(RUNS_S):
            postgres.pause()
            over.wait(STANDS_S)
            postgres.resume()

    with ThreadPoolExecutor(1) as threads:
        slowing = threads.submit(slow)
        try:
            scene.goes_on(*ALL, writes=2, within_s=60.0)
            eventually(lambda: time.monotonic() >= until, SLOW_S + 1)
            yield
        finally:
            over.set()
            slowing.result()


@contextmanager
def no_connection_left(scene: Scene) -> Iterator[None]:
    """Others have taken all connections that the database has: ours are gone, and a new one is refused (53300)."""
    scene.system.db.close()
    name = sql.Identifier(scene.system.running.database)
    with psycopg.connect(scene.system.running.postgres.admin_url, autocommit=True) as admin:
        limit = "alter database {} with connection limit {}"
        admin.execute(sql.SQL(limit).format(name, sql.Literal(0)))
        try:
            admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s",
                (scene.system.running.database,),
            )
            scene.met(4, kinds=("allocation",))
            yield
        finally:
            admin.execute(sql.SQL(limit).format(name, sql.Literal(-1)))


@contextmanager
def connections_cut(scene: Scene) -> Iterator[None]:
    """Every session of the database ended by an administrator; new ones are welcome."""
    with psycopg.connect(scene.system.running.postgres.admin_url, autocommit=True) as admin:
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s",
            (scene.system.running.database,),
        )
    yield


@contextmanager
def pool_exhausted(scene: Scene) -> Iterator[None]:
    """Tables that writers wait for until their connections are all taken; known devices' heartbeats have their own."""
    known = scene.spare[0]
    scene.writes.beat(known)
    with psycopg.connect(scene.system.target.database_url or "") as owner:
        owner.execute("lock table commands, enrollment_tokens, apk_versions, allocations in share mode")
        scene.met(4, within_s=40.0, kinds=FLEET)
        assert scene.writes.beat(known) is not None, "a heartbeat waits for others' connections"
        assert scene.writes.allocate(new_track()) is None, "allocated in spite of the lock"
        yield
        owner.rollback()


def disk_full(disk: SmallDisk, postgres: Postgres) -> Fault:
    """Not a block is free. When there are some again, an operator starts a server that has given up; nothing else."""

    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        scene.system.db.close()
        disk.fill()
        try:
            scene.met(10, within_s=30.0)
            yield
        finally:
            disk.relieve()
            if not postgres.running:
                postgres.restart()

    return fault


def clock_moved(clock: MovedClock, midnight: float) -> Fault:
    """The database's clock passes midnight (UTC), and is then set back to the day before, as after a fail-over.

    midnight: a moment in epoch seconds that lies ahead, by less than enrolment tokens live.
    """

    @contextmanager
    def fault(scene: Scene) -> Iterator[None]:
        clock.move(midnight - 3.0 - clock.now())
        eventually(lambda: clock.now() > midnight + 2.0, within_s=10.0)
        scene.goes_on("heartbeat", "command", "result", "allocation", "release")
        alias = new_alias()
        token = scene.writes.token(alias)["tokens"][0]["token"]
        made = scene.writes.register(alias, token)
        device = FleetDevice(made["device_id"], alias, made["device_token"], f"chaos:{alias}")
        clock.move(-BACK_S)
        scene.goes_on("heartbeat", "token")
        # Now the device was registered in the future.
        scene.writes.beat(device, agent_version="1.4.3")
        scene.writes.retire(device.device_id)
        yield

    return fault
