"""The row `sync/001` of seed 004: what changes below a mount is brought to its backend, by a push or by itself."""

from functools import partial
from pathlib import Path

import pytest

from acceptance.access.requests import UNKNOWN
from acceptance.platform.agents import new_id
from acceptance.platform.mounts import add
from acceptance.platform.sync import Mount
from acceptance.platform.zones import MIB, UNKNOWN_KEY, Platform
from acceptance.suite.case import case
from acceptance.system.match import accepted, refused
from acceptance.system.system import System
from acceptance.system.web_workers import both, race
from harness.platform.zone import SYNC, Zone
from harness.waiting import eventually

pytestmark = [pytest.mark.auto, pytest.mark.sync]

NOTHING = {"changes_pushed": 0, "changes_failed": 0, "conflicts_detected": 0, "conflicts": 0, "remaining": 0}
COUNTED = 'nexmdm_platform_sync_changes_total{{outcome="{}"}}'
FILES = {"a": b"one", "deep/er/b": b"", "large": bytes(range(256)) * (MIB // 256 + 40_000)}  # more than one part
RUNNING = """
    insert into mount_runs (zone_id, mount_id, mount_point, trigger, lease_until)
    select zone_id, mount_id, mount_point, 'loop', clock_timestamp() + %(lease)s::interval
    from mounts where mount_id::text = %(mount)s
"""


@case("sync/001", "pushMount 200", "listSyncRuns 200")
def test_what_has_changed_is_pushed(two_workers: System, platform_of_two: Platform, tmp_path: Path) -> None:
    """As many are pushed as have changed, at every worker; the backend has the bytes; again none (004: sync/001)."""
    platform = platform_of_two
    mount = Mount(platform, platform.zone(), tmp_path / "data", "/data/deep")
    for path, content in FILES.items():
        mount.change(path, content)
    assert mount.zone.usage()["max_files"] == len(FILES)
    with both(two_workers), two_workers.metrics.moves({COUNTED.format("pushed"): len(FILES)}):
        answer = mount.push()
        found = accepted(answer)
        metrics = found.pop("metrics")
        assert found == NOTHING | {"mount_point": "/data/deep", "changes_pushed": len(FILES)}
        assert (metrics["conflicts_open"], metrics["conflicts_resolved"]) == (0, 0)
        assert {path: mount.at_backend(path) for path in FILES} == FILES
        for _ in range(2):
            assert mount.pushed() == (0, 0, 0, 0)
    two_workers.logs.expect(
        answer, "platform.sync.run", mount_point="/data/deep", trigger="push", pushed=len(FILES), failed=0, error=None,
        level="INFO",
    )  # fmt: skip
    assert mount.told("pushed") == [f"/data/deep/{path}" for path in FILES]
    assert mount.left() == {"mount_changes": 0, "mount_bases": len(FILES)}
    assert (mount.zone.usage()["max_files"], mount.zone.usage()["max_storage_bytes"]) == (0, 0)
    platform.adds_up(mount.zone.zone_id)
    runs = accepted(mount.zone.request("GET", f"{SYNC}/runs"))["items"]
    assert [(run["changes_pushed"], run["trigger"], run["status"]) for run in runs] == [
        (pushed, "push", "finished") for pushed in (0, 0, len(FILES))
    ]
    mount.change("a", b"two")
    mount.change("deep/er/b", None)
    assert mount.pushed() == (2, 0, 0, 0)
    assert (mount.at_backend("a"), mount.at_backend("deep/er/b")) == (b"two", None)
    assert mount.left() == {"mount_changes": 0, "mount_bases": len(FILES) - 1}


@case("delivery/002", "pushMount 200")
def test_the_backend_is_away(zone: Zone, platform: Platform, system: System, tmp_path: Path) -> None:
    """While the backend is away a push fails, loses nothing and says why; afterwards it delivers (004: sync/001)."""
    mount = Mount(platform, zone, tmp_path / "data")
    for path in ("a", "b"):
        mount.change(path, path.encode())
    mount.root.rename(tmp_path / "away")
    with system.metrics.moves({COUNTED.format("failed"): 2}):
        answer = mount.push()
    assert [accepted(answer)[name] for name in ("changes_pushed", "changes_failed", "remaining")] == [0, 2, 2]
    system.logs.expect(answer, "platform.sync.run", failed=2, remaining=2, error="no_root", level="WARNING")
    waits = system.db.rows(
        "select attempts, error, next_at >= changed_at + interval '0.5 s' as later from mount_changes"
        " where mount_id::text = %s",
        mount.id,
    )
    assert waits == [{"attempts": 1, "error": "no_root", "later": True}] * 2
    assert mount.zone.usage()["max_files"] == 2
    (tmp_path / "away").rename(mount.root)
    assert mount.pushed() == (2, 0, 0, 0)
    assert [mount.at_backend(path) for path in ("a", "b")] == [b"a", b"b"]


@case("delivery/003", "pushMount 200")
def test_a_path_that_cannot_be_brought(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """A path that the backend does not take holds up no other; a link at the backend leads nowhere (004: sync/001)."""
    mount = Mount(platform, zone, tmp_path / "data")
    for path in ("link/a", "directory", "b"):
        mount.change(path, b"text")
    (tmp_path / "outside").mkdir()
    (mount.root / "link").symlink_to(tmp_path / "outside")
    (mount.root / "directory").mkdir()
    assert mount.pushed() == (1, 2, 0, 2)
    assert mount.at_backend("b") == b"text"
    assert list((tmp_path / "outside").iterdir()) == []
    (mount.root / "directory").rmdir()
    assert mount.pushed() == (1, 1, 0, 1)


@case("delivery/004")
def test_changes_arrive_by_themselves(sweeping: Platform, tmp_path: Path) -> None:
    """A change arrives within 5 seconds without a push, one that failed too, and the loop tells what waits (004)."""
    platform, metrics = sweeping, sweeping.system.metrics
    mount, other = (Mount(platform, platform.zone(), tmp_path / name) for name in ("one", "two"))
    mount.change("a", b"text")
    eventually(lambda: mount.at_backend("a") == b"text", within_s=5.0)
    eventually(lambda: mount.left()["mount_changes"] == 0, within_s=1.0)
    platform.system.logs.wait("platform.sync.run", zone_id=mount.zone.zone_id, trigger="loop", pushed=1)
    other.root.rename(tmp_path / "away")
    other.change("b", b"text")
    eventually(lambda: metrics.total("nexmdm_platform_sync_backlog") == 1, within_s=5.0)
    eventually(lambda: metrics.total("nexmdm_platform_sync_oldest_change_seconds") > 0, within_s=5.0)
    platform.system.logs.wait("platform.sync.run", zone_id=other.zone.zone_id, trigger="loop", failed=1)
    mount.change("a", None)
    eventually(lambda: mount.at_backend("a") is None, within_s=5.0)
    (tmp_path / "away").rename(other.root)
    eventually(lambda: other.at_backend("b") == b"text", within_s=5.0)
    eventually(lambda: metrics.total("nexmdm_platform_sync_backlog") == 0, within_s=5.0)


@case("delivery/005", "pushMount 403", "pushRoot 403", "listSyncRuns 403", "listConflicts 403")
def test_who_may_push(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """Only an admin pushes, a member looks at runs and conflicts, an agent does neither (platform.md: who may call)."""
    mount = Mount(platform, zone, tmp_path / "data")
    mount.change("a", b"text")
    agent, unknown = platform.agent(zone.zone_id, new_id()), f"{SYNC}/conflicts/{UNKNOWN}"
    with platform.unchanged():
        for path in (f"{SYNC}/mounts/data/push", f"{SYNC}/mounts//push"):
            refused(zone.request("POST", path), 403, "admin_required")
            refused(agent.request("POST", path), 403, "role_forbidden")
        for path in (f"{SYNC}/runs", f"{SYNC}/conflicts", unknown):
            refused(agent.request("GET", path), 403, "role_forbidden")
        refused(agent.request("POST", f"{unknown}/resolve", json={"strategy": "abort"}), 403, "role_forbidden")
        refused(platform.system.api.bearer(UNKNOWN_KEY, "GET", f"{SYNC}/runs"), 401, "token_invalid")
    assert mount.pushed()[0] == 1
    assert accepted(zone.request("GET", f"{SYNC}/runs", params={"mount_point": "/other"}))["items"] == []


@case("delivery/006", "pushMount 404", "pushRoot 200", "pushMount 200")
def test_what_has_nothing_to_bring(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """The root, a read-only mount and one without changes bring nothing; what is no mount is 404 (004: sync/001)."""
    add(zone, "/readonly", tmp_path / "readonly")
    Mount(platform, zone, tmp_path / "data", "/a/b")
    saved = Mount(platform, zone, tmp_path / "data", "/saved")
    zone.rpc("save_mount", mount_point="/saved")
    zone.rpc("remove_mount", mount_point="/saved")
    admin = platform.as_admin(zone.zone_id)
    for point, told in (("", "/"), ("readonly", "/readonly"), ("a/b", "/a/b"), ("a%2Fb", "/a/b"), ("a%2fb", "/a/b")):
        found = accepted(admin.request("POST", f"{SYNC}/mounts/{point}/push"))
        assert {name: found[name] for name in NOTHING} == NOTHING
        assert (found["mount_point"], found["metrics"]["conflicts_open"]) == (told, 0)
    assert accepted(zone.request("GET", f"{SYNC}/runs", params={"mount_point": "/readonly"}))["items"] == []
    foreign = platform.as_admin(platform.zone().zone_id)
    with platform.unchanged():
        for point in (
            "a",
            "a/b/c",
            saved.point[1:],
            "a//b",
            "/a/b",
            "a/b/",
            "%2e%2e/a",
            "a%00",
            "%F0%9F%A7%B1",
            "x" * 2000,
        ):
            refused(admin.request("POST", f"{SYNC}/mounts/{point}/push"), 404, "mount_not_found")
        refused(foreign.request("POST", f"{SYNC}/mounts/a/b/push"), 404, "mount_not_found")


@case("delivery/007", "pushMount 409", "listSyncRuns 200")
def test_a_delivery_that_runs_already(sweeping: Platform, tmp_path: Path) -> None:
    """A push waits for a delivery that runs and is 409 where it lasts; one whose lease is over has ended (004)."""
    platform = sweeping
    mount = Mount(platform, platform.zone(), tmp_path / "data")
    platform.write(RUNNING, mount=mount.id, lease="1 hour")
    mount.change("a", b"text")
    with platform.system.db.unchanged():
        refused(mount.push(), 409, "push_running")
    [run] = accepted(mount.zone.request("GET", f"{SYNC}/runs"))["items"]
    assert (run["status"], run["finished_at"], run["mount_id"]) == ("running", None, mount.id)
    platform.write("update mount_runs set lease_until = now() where mount_id::text = %(mount)s", mount=mount.id)
    eventually(lambda: mount.at_backend("a") == b"text", within_s=5.0)
    eventually(lambda: mount.left()["mount_changes"] == 0, within_s=5.0)
    statuses = [one["status"] for one in accepted(mount.zone.request("GET", f"{SYNC}/runs"))["items"]]
    assert statuses == ["finished"] * 2


@case("delivery/008", "pushMount 200")
def test_pushes_at_once(two_workers: System, platform_of_two: Platform, tmp_path: Path) -> None:
    """Of pushes at once, at two workers, each change is brought by one; the others find nothing (004: sync/001)."""
    platform = platform_of_two
    mount = Mount(platform, platform.zone(), tmp_path / "data")
    for number in range(20):
        mount.change(f"{number}", b"text")
    answers = race(two_workers, [mount.push] * 6)
    assert sorted(accepted(answer)["changes_pushed"] for answer in answers) == [0] * 5 + [20]
    assert len(mount.told("pushed")) == 20
    assert mount.left() == {"mount_changes": 0, "mount_bases": 20}
    platform.adds_up(mount.zone.zone_id)


@case("delivery/009", "listSyncRuns 200", "listSyncRuns 422")
def test_runs_are_listed_in_pages(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """Runs are listed newest first, each once over pages, and those of a mount alone (platform.md: runs)."""
    mount, other = (Mount(platform, zone, tmp_path / "data", point) for point in ("/one", "/two"))
    for _ in range(3):
        for one in (mount, other):
            assert one.pushed() == (0, 0, 0, 0)
    look = partial(zone.request, "GET", f"{SYNC}/runs")
    whole = accepted(look())["items"]
    assert [run["mount_point"] for run in whole] == ["/two", "/one"] * 3
    page, found = accepted(look(params={"limit": 4})), []
    found += page["items"]
    found += accepted(look(params={"limit": 4, "cursor": page["next_cursor"]}))["items"]
    assert found == whole
    assert len(accepted(look(params={"mount_point": "/one"}))["items"]) == 3
    for params in ({"cursor": "AAAA"}, {"mount_point": "\0"}, {"limit": 0}):
        refused(look(params=params), 422, "validation_error")


@case("delivery/010", "pushMount 200")
def test_bytes_of_a_broken_delivery_are_ours(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """What a killed delivery has brought is no conflict, also where the path has changed again since (004)."""
    mount = Mount(platform, zone, tmp_path / "data")
    sent = "update mount_changes set sent = encode(sha256(%(bytes)s), 'hex') where mount_id::text = %(mount)s"
    mount.change("a", b"first")
    platform.write(sent, mount=mount.id, bytes=b"first")
    (mount.root / "a").write_bytes(b"first")
    mount.change("a", b"second")
    assert mount.pushed() == (1, 0, 0, 0)
    assert mount.at_backend("a") == b"second"
    mount.change("a", b"third")
    platform.write(sent, mount=mount.id, bytes=b"third")
    (mount.root / "a").write_bytes(b"other")
    assert mount.pushed() == (0, 0, 1, 1)
    assert mount.at_backend("a") == b"other"


@case("delivery/011", "pushMount 200", "resolveConflict 503")
def test_bytes_that_our_own_store_has_lost(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """A change whose bytes are lost is failed and told; nothing waits behind it, and a new write ends it."""
    mount = Mount(platform, zone, tmp_path / "data")
    conflict = mount.in_conflict("disputed", ours=b"y" * MIB)
    mount.change("lost", b"x" * MIB)
    mount.change("other", b"text")
    platform.folder(zone.zone_id).lose()
    assert mount.pushed() == (1, 1, 0, 2)
    [row] = platform.system.db.rows(
        "select error, attempts from mount_changes where mount_id::text = %s and path = 'lost'", mount.id
    )
    assert row == {"error": "content_lost", "attempts": 1}
    for strategy in ("keep_local", "keep_both"):
        refused(mount.resolve(conflict, strategy), 503, "mount_backend_unavailable")
    assert {found.name for found in mount.root.iterdir()} == {"disputed", "other"}
    assert mount.at_backend("disputed") == b"theirs"
    accepted(mount.resolve(conflict, "keep_remote"))
    (mount.root / "lost").write_bytes(b"theirs")
    mount.change("lost", b"again")
    assert mount.pushed() == (0, 0, 1, 1)
