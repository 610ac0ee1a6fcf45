"""Faults of deliveries to mounts: what was on its way arrives, once and in nobody's place, whatever is killed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from acceptance.platform.sync import Mount
from acceptance.platform.tailing import killed
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.locks import unfinished
from acceptance.system.match import accepted
from acceptance.system.system import FreshBackend, System
from harness.platform.zone import SYNC
from harness.waiting import eventually

HELD = "select from files where zone_id = %s and path like '%%/5' for update"
FILES = 10
NO_LOOP = {"NEXMDM_PLATFORM_SYNC_EVERY_S": "86400"}


@case("chaos/029")
def test_a_push_is_killed(fresh_backend: FreshBackend, tmp_path: Path) -> None:
    """kill -9 between the backend's write and ours: the next push brings the rest, without a conflict (004)."""
    system: System = fresh_backend(workers=2, env=NO_LOOP)
    platform = Platform(system)
    mount = Mount(platform, platform.zone(), tmp_path / "data")
    zone_id = mount.zone.zone_id
    wanted = {f"{number}": b"first" for number in range(FILES)}
    for again in (b"first", b"second"):  # as it was, and written to once more after the kill
        for path in wanted:
            mount.change(path, again + b" time")
        with (
            platform.apart(platform.as_admin(zone_id)) as away,
            ThreadPoolExecutor(1) as pool,
            unfinished(system, HELD, zone_id) as wait_for,
        ):
            push = pool.submit(away.request, "POST", f"{SYNC}/mounts/data/push", headers=[("X-Nexus-Zone-ID", zone_id)])
            wait_for(1)
            assert mount.at_backend("5") == again + b" time"
            killed(system)
            assert push.exception() is not None
        system.api.reconnect()
        assert mount.left()["mount_changes"] == FILES - 5
        if again == b"second":
            mount.change("5", b"since")
        wanted = dict.fromkeys(wanted, again + b" time") | ({"5": b"since"} if again == b"second" else {})
        assert mount.pushed() == (FILES - 5, 0, 0, 0)
        assert {path: mount.at_backend(path) for path in wanted} == wanted
    assert mount.conflicts() == []
    assert {path.name for path in mount.root.iterdir()} == wanted.keys()
    assert mount.zone.usage()["max_files"] == 0
    platform.adds_up(zone_id)
    eventually(lambda: len(mount.told("pushed")) == 2 * FILES, within_s=1.0)
    runs = accepted(mount.zone.request("GET", f"{SYNC}/runs"))["items"]
    assert [run["status"] for run in runs] == ["finished"] * 4
