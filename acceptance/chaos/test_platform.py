"""Faults of the platform under load: what was acknowledged of a zone is there, with its event, whatever fails."""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from acceptance.chaos.assertions import Suffer, some_in_the_sample
from acceptance.chaos.experiment import NewScene, Scene
from acceptance.chaos.injections import platform as faults
from acceptance.platform.agents import registered
from acceptance.platform.sync import Mount
from acceptance.platform.tailing import database_killed, ended_while_it_writes, killed
from acceptance.platform.tasks import submitted
from acceptance.platform.test_teardown import DELETED
from acceptance.platform.zones import MIB, STEPS, Platform
from acceptance.suite.case import DISABLED, case
from acceptance.system.locks import BLOCKED, unfinished
from acceptance.system.match import accepted
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import background_process
from harness.chaos import small_disk
from harness.platform.tasks import Tasks
from harness.platform.uploads import begin
from harness.platform.zone import ZONES
from harness.waiting import eventually

DISK_KIB = 64 * 1024
KILLED: dict[str, tuple[Callable[[System], None], int]] = {"service": (killed, 20), "database": (database_killed, 10)}
PIN_S = 10  # what failed to be stored keeps its row for as long: it may still arrive
SWEEPS = {"NEXMDM_PLATFORM_SWEEP_EVERY_S": "0.2", "NEXMDM_PLATFORM_PIN_S": str(PIN_S)}
# A row that each step of a deletion has to wait for.
WAITS_FOR = {table: f"select from {table} where zone_id = %s for update" for table in STEPS} | {
    "objects": "select from objects where zone_id = %s and sha256 = repeat('a', 64) for update",
    "keys": "select from api_keys where zone = %s for update",
}
OBJECT = """
    insert into objects (zone_id, object_id, size, sha256, pinned_until)
    values (%(zone)s, gen_random_uuid(), 1, repeat('a', 64), now())
"""


@case("chaos/023")
@pytest.mark.parametrize("name", some_in_the_sample(KILLED, "database"))
def test_a_kill_while_files_are_written(name: str, fresh_backend: FreshBackend, pytestconfig: pytest.Config) -> None:
    """kill -9 of service or database while 8 write files: each acknowledged one is there, with its event (004)."""
    end, times = KILLED[name]
    system = fresh_backend(workers=2, own_postgres=name == "database")
    ended_while_it_writes(system, end, times=1 if pytestconfig.option.sample else times)


@case("chaos/024")
def test_a_deletion_is_killed_at_each_step(fresh_backend: FreshBackend, tmp_path: Path) -> None:
    """kill -9 in each step of a zone's deletion: the next process takes it from there, to one end (004: all data)."""
    system: System = fresh_backend()
    platform = Platform(system)
    zone, bystander = platform.zone(), platform.zone()
    for one in (zone, bystander):
        one.write("/small", "text")
        one.write("/large", "x" * MIB)
        begin(one, "/open", 100, content=b"x" * 20)
        registered(one, capabilities=["search"])
        submitted(Tasks(one))
        Mount(platform, one, tmp_path / one.zone_id).in_conflict()
    platform.write(OBJECT, zone=zone.zone_id)
    folder, untouched = platform.folder(zone.zone_id), platform.rows(bystander.zone_id)
    last = system.db.value("select event_seq from zones where zone_id = 'root'")
    with ExitStack() as rest:
        held = {name: rest.enter_context(ExitStack()) for name in STEPS}
        for name, statement in WAITS_FOR.items():
            held[name].enter_context(unfinished(system, statement, zone.zone_id))
        shown = accepted(platform.admin("DELETE", f"{ZONES}/{zone.zone_id}"), 202)["finalizers"]
        assert [step["name"] for step in shown] == STEPS
        for number, name in enumerate(STEPS):
            eventually(partial(waits_in_step, platform, zone.zone_id, number), within_s=20.0, what=f"the step {name}")
            os.kill(background_process(system), signal.SIGKILL)
            held[name].close()
    platform.gone(zone.zone_id, within_s=20.0)
    assert platform.rows(zone.zone_id) == {}
    assert not folder.exists()
    assert system.db.value(DELETED, last) == 1
    assert platform.rows(bystander.zone_id) == untouched
    assert bystander.read("/large") == b"x" * MIB


def waits_in_step(platform: Platform, zone_id: str, number: int) -> bool:
    """Whether the deletion of a zone has done so many steps, and waits in the next one."""
    shown = accepted(platform.admin("GET", f"{ZONES}/{zone_id}"))["finalizers"]
    done = [step["done"] for step in shown]
    return done == [number > place for place in range(len(STEPS))] and platform.system.db.value(BLOCKED) == 1


def swept(one: Scene) -> None:
    """Return when the store has each object that a row knows, no other, and no row waits for one."""

    def agree() -> bool:
        one.platform.loses_nothing(one.zone.zone_id)
        return True

    eventually(agree, within_s=PIN_S + 10.0, what="the sweep")


@case("chaos/025")
def test_the_store_is_full(scene: NewScene, suffer: Suffer) -> None:
    """While the objects' disk is full parts of uploads are 503, small files go on; then uploads go on (004: upload)."""
    try:
        with (
            small_disk.mounted(DISK_KIB) as disk,
            closing(scene(env=SWEEPS | {"NEXMDM_PLATFORM_STORAGE_URL": str(disk.folder)})) as one,
        ):
            suffer(one, "object store full", faults.store_full(disk), times=3, recovers_within_s=2.0)
            swept(one)
    except small_disk.SmallDiskError as error:
        pytest.skip(f"{DISABLED}the right to mount a small disk ({error})")


@case("chaos/026")
@pytest.mark.whole_run
def test_the_store_is_away(scene: NewScene, suffer: Suffer) -> None:
    """While the objects' directory cannot be used parts are 503, and nothing else is; then uploads go on (004)."""
    one = scene(env=SWEEPS)
    suffered = suffer(one, "object store away", faults.store_away, times=3, recovers_within_s=2.0)
    assert suffered.tally.refused == suffered.kinds["part"].refused
    swept(one)


@case("chaos/027")
def test_the_store_hangs(scene: NewScene, suffer: Suffer) -> None:
    """An object that cannot be opened holds up those who read or upload objects, and nobody else (004: upload)."""
    suffered = suffer(scene(), "object store hangs", faults.store_hangs, times=3, recovers_within_s=2.0)
    assert suffered.tally.acknowledged == suffered.tally.asked
