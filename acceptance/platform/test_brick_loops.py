"""The loops of parts: one of an unmounted part stops and goes on, one that fails is told; a restart keeps both."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import pytest

from acceptance.platform.agents import brought_to, new_id
from acceptance.platform.bricks import BRICKS, act, looked_at, turns, unmounted
from acceptance.platform.tasks import leased
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.match import accepted, refused
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import both
from harness.platform.tasks import Tasks
from harness.platform.uploads import UPLOADS, begin
from harness.platform.zone import Zone
from harness.waiting import eventually

_AGO = "clock_timestamp() - interval '1 day'"


class Due(NamedTuple):
    """What the loop of a part ends: how it is made, what makes it due, and how many there are that it has not ended."""

    make: Callable[[Zone], str]
    falls_due: str
    left: str


DUE = {
    "uploads": Due(
        lambda zone: begin(zone, f"/{new_id()}", 5).id,
        f"update uploads set expires_at = {_AGO} where upload_id::text = %(id)s",
        "select count(*) from uploads where upload_id::text = %s",
    ),
    "scheduler": Due(
        lambda zone: str(leased(Tasks(zone), executor=new_id())["id"]),
        f"update tasks set lease_until = {_AGO} where task_id::text = %(id)s",
        "select count(*) from tasks where task_id::text = %s and status = 'running'",
    ),
    "agents": Due(
        lambda zone: brought_to(zone, "CONNECTED"),
        f"update agents set connected_at = {_AGO}, ready_since = {_AGO}, last_heartbeat = {_AGO}"
        " where agent_id = %(id)s",
        "select count(*) from agents where agent_id = %s and state = 'CONNECTED'",
    ),
    "files": Due(
        lambda zone: zone.zone_id,
        "insert into objects (zone_id, object_id, size, sha256, pinned_until)"
        f" values (%(id)s, gen_random_uuid(), 1, repeat('a', 64), {_AGO})",
        "select count(*) from objects where zone_id = %s",
    ),
    "sync": Due(
        lambda zone: str(
            zone.rpc(
                "add_mount", mount_point="/m", backend_type="local", readonly=True,
                backend_config={"root_path": f"{tempfile.gettempdir()}/nexmdm-of-loops"},
            )
        ),
        "with one as (update mounts set readonly = false where mount_id::text = %(id)s returning *)"
        " insert into mount_changes (zone_id, mount_id, path, kind) select zone_id, mount_id, 'a', 'delete' from one"
        " on conflict do nothing",
        "select count(*) from mount_changes where mount_id::text = %s",
    ),
}  # fmt: skip


@case("bricks/007")
@pytest.mark.parametrize("name", DUE)
def test_the_loop_of_an_unmounted_part_stops(name: str, sweeping: Platform) -> None:
    """The loop of an unmounted part does nothing, others go on; mounted, it does what was due in a second (004)."""
    platform, db = sweeping, sweeping.system.db
    rounds = [[(one, DUE[one].make(platform.zone())) for one in DUE] for _ in range(2)]

    def left(one: str, key: str) -> int:
        count: int = db.value(DUE[one].left, key)
        return count

    def done(things: list[tuple[str, str]]) -> bool:
        return not any(left(*thing) for thing in things)

    with unmounted(platform, name) as away:
        for things in rounds:  # by the end of the second one every loop has had a turn
            for one, key in things:
                platform.write(DUE[one].falls_due, id=key)
            others = [thing for thing in things if thing[0] not in away]
            eventually(partial(done, others), within_s=5.0)
        assert all(left(*thing) for things in rounds for thing in things if thing[0] in away)
    eventually(lambda: all(map(done, rounds)), within_s=1.0)


@case("bricks/010")
def test_the_turns_of_a_loop_are_counted(sweeping: Platform) -> None:
    """Each loop counts the turns that end well, so that one that hangs shows; that of an unmounted part has none."""

    def further(before: dict[str, float], but: str = "") -> bool:
        return all(count > before[loop] for loop, count in turns(sweeping.system).items() if loop != but)

    before = turns(sweeping.system)
    assert set(before) == {"agents", "bricks", "sweeper", "sync", "tasks", "teardown", "uploads"}
    eventually(partial(further, before), within_s=5.0)
    with unmounted(sweeping, "sync"):
        eventually(partial(further, turns(sweeping.system), "sync"), within_s=5.0)
        before = turns(sweeping.system)
        eventually(partial(further, before, "sync"), within_s=5.0)
        assert turns(sweeping.system)["sync"] == before["sync"]
    eventually(partial(further, before), within_s=2.0)


@contextmanager
def failing(platform: Platform) -> Iterator[None]:
    """The loop of the agents fails at the next agent that is silent."""
    platform.write("alter table agents add constraint planted check (state <> 'IDLE') not valid")
    try:
        yield
    finally:
        platform.write("alter table agents drop constraint planted")


@case("bricks/008", "getBrick 200", "mountBrick 200", "remountBrick 200", slow="waits for retries of 1 and 2 s")
def test_a_loop_that_fails_is_told(fresh_backend: FreshBackend) -> None:
    """A part whose loop fails is failed, with its error, also to the metrics, until a turn succeeds (platform.md)."""
    platform = Platform(fresh_backend(env={"NEXMDM_PLATFORM_SWEEP_EVERY_S": "0.2"}))
    told = platform.system.metrics
    agent_id = brought_to(platform.zone(), "CONNECTED")
    with failing(platform):
        platform.write(DUE["agents"].falls_due, id=agent_id)
        eventually(lambda: looked_at(platform, "agents")["state"] == "failed", within_s=5.0)
        health = accepted(platform.admin("GET", f"{BRICKS}/health"))
        assert (health["total"], health["active"], health["failed"]) == (7, 6, 1)
        assert looked_at(platform, "agents")["error"] == "CheckViolationError"
        platform.system.logs.wait("job.fail", job="agents", level="ERROR", error="CheckViolationError")
        eventually(lambda: told.total('nexmdm_platform_bricks{brick="agents",state="failed"}') == 1, within_s=5.0)
        answer = accepted(act(platform, "agents", "mount"))
        assert (answer["state"], answer["error"]) == ("failed", "CheckViolationError")
        assert accepted(act(platform, "agents", "remount"))["state"] == "active"
        eventually(lambda: looked_at(platform, "agents")["state"] == "failed", within_s=10.0)
        accepted(act(platform, "agents", "unmount"))
        assert (looked_at(platform, "agents")["state"], looked_at(platform, "agents")["error"]) == ("unmounted", None)
        assert accepted(act(platform, "agents", "mount"))["state"] == "active"
        eventually(lambda: looked_at(platform, "agents")["state"] == "failed", within_s=10.0)
    eventually(lambda: looked_at(platform, "agents")["state"] == "active", within_s=10.0)
    eventually(lambda: told.total('nexmdm_platform_bricks{state="active"}') == 7, within_s=5.0)


@case("bricks/009", "unmountBrick 200", "getBrick 200", slow="restarts its backend")
def test_what_is_unmounted_stays_so(fresh_backend: FreshBackend) -> None:
    """After a restart what was unmounted still is, its loop too; mounted, the loop goes on within a second (004)."""
    system: System = fresh_backend(workers=2)
    platform = Platform(system)
    zone = platform.zone()
    upload = begin(zone, "/a", 5).id
    accepted(act(platform, "uploads", "unmount"))
    platform.write(DUE["uploads"].falls_due, id=upload)
    system.running.backend.restart()
    system.api.reconnect()
    with both(system):
        for _ in range(2):
            assert looked_at(platform, "uploads")["state"] == "unmounted"
            assert looked_at(platform, "files")["state"] == "active"
            refused(zone.request("POST", UPLOADS), 503, "brick_unmounted")
            zone.write("/b", "text")
    told = 'nexmdm_platform_bricks{brick="uploads",state="unmounted"}'
    eventually(lambda: system.metrics.total(told) == 1, within_s=5.0)
    assert system.db.value(DUE["uploads"].left, upload) == 1
    accepted(act(platform, "uploads", "mount"))
    eventually(lambda: system.db.value(DUE["uploads"].left, upload) == 0, within_s=1.0)
