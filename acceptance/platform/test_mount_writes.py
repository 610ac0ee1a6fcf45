"""Changes below a mount: seen at once, kept for the backend with quota and event, be it there or not."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from acceptance.platform.bricks import unmounted
from acceptance.platform.mounts import add, filled, tree_hash
from acceptance.platform.test_mount_files import MOUNTED
from acceptance.platform.test_zone_requests import blocked, refusal
from acceptance.platform.zones import Platform, denied
from acceptance.suite.case import case
from acceptance.system.match import refused
from acceptance.system.system import System
from acceptance.system.web_workers import both, race
from harness.platform import uploads
from harness.platform.rpc import answered
from harness.platform.zone import Zone
from harness.waiting import eventually

CHANGES = "select path, kind from mount_changes where zone_id = %s order by path"
BASE = """
    insert into mount_bases (zone_id, mount_id, path, remote_etag, size, mtime)
    values (%(zone)s, %(mount)s, %(path)s, 'known', 1, now())
"""
DELIVERED = (
    "delete from files where zone_id = %s",
    "delete from mount_changes where zone_id = %s",
    "update zones set files = 0, used_bytes = 0 where zone_id = %s",
)
RACERS = 8


def changes(platform: Platform, zone: Zone) -> dict[str, str]:
    """What is still to be brought to backends."""
    return {row["path"]: row["kind"] for row in platform.system.db.rows(CHANGES, zone.zone_id)}


def entries(zone: Zone, path: str = "/m", *, limit: int = 1000, recursive: bool = True) -> list[tuple[str, int]]:
    return [(one["path"], one["size"]) for one in zone.entries(path, limit=limit, recursive=recursive)]


@pytest.fixture(scope="module", autouse=True)
def _undelivered(platform_of_two: Platform, platform: Platform) -> Iterator[None]:
    """Nothing is brought to any backend within the block."""
    with unmounted(platform_of_two, "sync"), unmounted(platform, "sync"):
        yield


@case("mount-writes/001", "writeFile result", "readFile result", "listDirectory result")
def test_a_write_is_seen_before_the_backend_has_it(
    two_workers: System, platform_of_two: Platform, tmp_path: Path
) -> None:
    """A write below a mount is read at once at every worker, with its event, its quota, its row to deliver (004)."""
    platform, large = platform_of_two, "x" * 70_001
    zone, root = platform.zone(), filled(tmp_path / "one", "a/b", "c")
    add(zone, "/m", root, readonly=False)
    before = tree_hash(root)
    with both(two_workers):
        made = zone.write("/m/new/d", "text")
        zone.write("/m/a/b", large)
        zone.write("/m/a/b", large + "y")
        for _ in range(2):
            assert zone.read("/m/new/d") == b"text"
            assert zone.rpc("read", path="/m/new/d", offset=1)["etag"] == made["etag"]
            assert zone.read("/m/a/b") == (large + "y").encode()
            assert zone.rpc("exists", path="/m/new")
            denied(zone, -32006, "is_a_directory", "read", path="/m/new")
            assert entries(zone) == [("/m/a/b", 70_002), ("/m/c", 1), ("/m/new/d", 4)]
            assert entries(zone, recursive=False) == [("/m/a", 0), ("/m/c", 1), ("/m/new", 0)]
    assert changes(platform, zone) == {"a/b": "write", "new/d": "write"}
    assert [(one["type"], one["path"]) for one in zone.log()][2:] == [
        ("write", "/m/new/d"), ("write", "/m/a/b"), ("write", "/m/a/b"),
    ]  # fmt: skip
    assert (zone.usage()["max_storage_bytes"], zone.usage()["max_files"]) == (70_006, 2)
    platform.adds_up(zone.zone_id)
    assert tree_hash(root) == before


@case("mount-writes/002", "deleteFile result", "deleteFile not_found", "readFile not_found", "pathExists result")
def test_a_deletion_is_seen_before_the_backend_has_it(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """What is deleted below a mount is gone at once, and may be written again; the undelivered is refunded (004)."""
    root = filled(tmp_path / "one", "a/b", "c")
    add(zone, "/m", root, readonly=False)
    before = tree_hash(root)
    zone.write("/m/d", "text")
    for path in ("/m/c", "/m/d"):
        assert zone.rpc("delete", path=path) == {"deleted": True}
        with platform.unchanged():
            denied(zone, -32000, "not_found", "delete", path=path)
            denied(zone, -32000, "not_found", "read", path=path)
            assert not zone.rpc("exists", path=path)
    denied(zone, -32000, "not_found", "delete", path="/m/nowhere")
    for path in ("/m", "/m/a"):
        denied(zone, -32006, "is_a_directory", "delete", path=path)
    assert entries(zone) == [("/m/a/b", 3)]
    assert changes(platform, zone) == {"c": "delete", "d": "delete"}
    assert [one["type"] for one in zone.log()][2:] == ["write", "delete", "delete"]
    assert set(zone.usage().values()) == {0}
    zone.write("/m/c", "again")
    assert (zone.read("/m/c"), changes(platform, zone)["c"]) == (b"again", "write")
    assert tree_hash(root) == before


@case("mount-writes/003", "writeFile etag_mismatch", "writeFile exists", "writeFile is_a_directory")
def test_conditions_are_judged_by_the_backend(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """Conditions hold for the backend's file where the zone has not changed it; no file lies below another (api)."""
    add(zone, "/m", filled(tmp_path / "one", "a/b", "c"), readonly=False)
    etag = zone.rpc("read", path="/m/c", offset=0)["etag"]
    with platform.unchanged():
        denied(zone, -32006, "etag_mismatch", "write", path="/m/c", content="x", if_match="0" * 64)
        denied(zone, -32006, "etag_mismatch", "write", path="/m/c", content="x", if_none_match=etag)
        denied(zone, -32006, "etag_mismatch", "write", path="/m/new", content="x", if_match=etag)
        denied(zone, -32001, "exists", "write", path="/m/c", content="x", if_none_match="*")
        for path in ("/m", "/m/a"):
            denied(zone, -32006, "is_a_directory", "write", path=path, content="x")
            denied(zone, -32006, "is_a_directory", "write", path=path, content="x" * 70_000)
        for path in ("/m/c/d", "/m/a/b/c/d"):
            denied(zone, -32006, "not_a_directory", "write", path=path, content="x")
    ours = zone.write("/m/c", "ours", if_match=etag)["etag"]
    zone.write("/m/new", "new", if_none_match="*")
    with platform.unchanged():
        denied(zone, -32006, "etag_mismatch", "write", path="/m/c", content="x", if_match=etag)
        denied(zone, -32001, "exists", "write", path="/m/new", content="x", if_none_match="*")
        denied(zone, -32006, "not_a_directory", "write", path="/m/new/d", content="x")
    assert zone.write("/m/c", "again", if_match=ours)["version"] == 2


@case("mount-writes/004", "writeFile result", "writeFile backend_unavailable", "deleteFile backend_unavailable")
def test_writes_go_on_without_the_backend(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """Without the backend writes are taken, and deletions of what it is known to have; nothing is guessed (004)."""
    root = filled(tmp_path / "one", "c", "known")
    mount_id = add(zone, "/m", root, readonly=False)
    platform.write(BASE, zone=zone.zone_id, mount=mount_id, path="known")
    shutil.move(root, tmp_path / "away")
    with platform.unchanged():
        denied(zone, -32011, "backend_unavailable", "write", path="/m/c", content="x", if_none_match="*")
        denied(zone, -32011, "backend_unavailable", "delete", path="/m/c")
        denied(zone, -32011, "backend_unavailable", "read", path="/m/c")
    zone.write("/m/c", "ours")
    assert zone.rpc("delete", path="/m/known") == {"deleted": True}
    assert zone.read("/m/c") == b"ours"
    denied(zone, -32000, "not_found", "read", path="/m/known")
    assert changes(platform, zone) == {"c": "write", "known": "delete"}


@case("mount-writes/005", "writeFile quota_exceeded")
def test_undelivered_bytes_count(platform: Platform, tmp_path: Path) -> None:
    """What is written below a mount counts in the quota until it is delivered, to the byte (004)."""
    zone = platform.zone(limits={"max_storage_bytes": 100_000, "max_files": 2})
    add(zone, "/m", filled(tmp_path / "one", "c"), readonly=False)
    zone.write("/m/a", "x" * 100_000)
    with platform.unchanged():
        denied(zone, -32010, "quota_exceeded", "write", path="/m/b", content="x")
        denied(zone, -32010, "quota_exceeded", "write", path="/m/a", content="x" * 100_001)
    zone.rpc("delete", path="/m/a")
    zone.write("/m/b", "x" * 70_000)
    zone.write("/m/c", "x")
    denied(zone, -32010, "quota_exceeded", "write", path="/m/d", content="x")
    platform.adds_up(zone.zone_id)
    platform.loses_nothing(zone.zone_id)


@case("mount-writes/006", "removeMount mount_has_changes", "writeFile result")
@pytest.mark.parametrize("first", ["write", "remove"])
def test_a_write_and_the_end_of_its_mount(first: str, zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """Of a write below a mount and the mount's end the later one sees the earlier: no change is left without (004)."""
    add(zone, "/m", filled(tmp_path / "one", "c"), readonly=False)
    calls = {
        "write": partial(zone.call, "write", path="/m/c", content="ours"),
        "remove": partial(zone.call, "remove_mount", mount_point="/m"),
    }
    order = [first, *(name for name in calls if name != first)]
    with psycopg.connect(platform.system.target.database_url or "") as owner, ThreadPoolExecutor(2) as pool:
        owner.execute("select from zones where zone_id = %s for update", [zone.zone_id])
        waiting = {}
        for number, name in enumerate(order, 1):
            waiting[name] = pool.submit(calls[name])
            eventually(partial(blocked, platform.system, number), within_s=4.0)
        owner.commit()
        answers = {name: one.result() for name, one in waiting.items()}
    answered(answers["write"])
    if first == "write":
        assert refusal(answers["remove"]) == (-32006, "mount_has_changes")
        assert changes(platform, zone) == {"c": "write"}
    else:
        assert answered(answers["remove"])["removed"]
        assert changes(platform, zone) == {}
        assert zone.paths() == ["/m/c"]
    assert zone.read("/m/c") == b"ours"
    platform.adds_up(zone.zone_id)


@case("mount-writes/007", "writeFile mount_changed", "deleteFile mount_changed")
def test_a_mount_that_comes_in_a_mount(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """What waits below a mount while another one is mounted in it, nearer to its path, changes nothing (004)."""
    add(zone, "/m", filled(tmp_path / "one", "in/c", "d"), readonly=False)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("write", {"path": "/m/in/c", "content": "x"}),
        ("delete", {"path": "/m/in/c"}),
        ("write", {"path": "/m/i", "content": "x"}),
    ]
    with psycopg.connect(platform.system.target.database_url or "") as owner, ThreadPoolExecutor(1) as pool:
        for method, params in calls:
            owner.execute("select from zones where zone_id = %s for update", [zone.zone_id])
            waiting = pool.submit(partial(zone.call, method, **params))
            eventually(partial(blocked, platform.system, 1), within_s=4.0)
            for point in ("/m/in", "/m/i/n"):
                owner.execute(MOUNTED, [zone.zone_id, point])
            owner.commit()
            assert refusal(waiting.result()) == (-32006, "mount_changed")
            owner.execute("delete from mounts where zone_id = %s and mount_point <> '/m'", [zone.zone_id])
            owner.commit()
    assert changes(platform, zone) == {}
    assert [one["type"] for one in zone.log()] == ["zone.created", "mount.added"]


@case("mount-writes/008", "listDirectory result")
@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_lists_of_what_is_undelivered(limit: int, recursive: bool, zone: Zone, tmp_path: Path) -> None:
    """A list is what the backend has with the zone's changes, each once, in pages of any size (004)."""
    add(zone, "/m", filled(tmp_path / "one", *(f"{n}" for n in range(9)), "a/0", "a/1", "b-"), readonly=False)
    for name in ("0", "1", "2", "4", "8", "a/0"):
        zone.rpc("delete", path=f"/m/{name}")
    for name in ("00", "3", "a/2", "b/c/d", "b/c-"):
        zone.write(f"/m/{name}", "text")
    sizes = {"00": 4, "3": 4, "5": 1, "6": 1, "7": 1}
    deep = {"a/1": 3, "a/2": 4, "b-": 2, "b/c-": 4, "b/c/d": 4}
    wanted = sizes | (deep if recursive else {"a": 0, "b-": 2, "b": 0})
    assert entries(zone, limit=limit, recursive=recursive) == [(f"/m/{name}", size) for name, size in wanted.items()]
    assert entries(zone, "/m/b", limit=limit, recursive=recursive) == (
        [("/m/b/c-", 4), ("/m/b/c/d", 4)] if recursive else [("/m/b/c-", 4), ("/m/b/c", 0)]
    )


@case("mount-writes/009", "writeFile result", "deleteFile result")
def test_of_changes_at_once_one_is_left(two_workers: System, platform_of_two: Platform, tmp_path: Path) -> None:
    """Many that write and delete one path below a mount at once leave one row, and usage that adds up (004)."""
    zone = platform_of_two.zone()
    add(zone, "/m", filled(tmp_path / "one", "c"), readonly=False)
    calls = [
        partial(zone.call, "write", path="/m/c", content="x" * size)
        if size % 3
        else partial(zone.call, "delete", path="/m/c")
        for size in range(1, RACERS + 1)
    ]
    answers = race(two_workers, calls)
    refusals = {refusal(one) for one in answers if "error" in one.json()}
    assert refusals <= {(-32000, "not_found"), (-32006, "mount_changed")}
    assert len(zone.log()) == 2 + sum("result" in one.json() for one in answers)
    assert len(changes(platform_of_two, zone)) == 1
    platform_of_two.adds_up(zone.zone_id)


@case(
    "mount-writes/010",
    "renamePath mount_unsupported",
    "makeDirectory mount_unsupported",
    "removeDirectory mount_unsupported",
    "createUpload 409",
)
def test_what_no_mount_can_do(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """Nothing is renamed below a mount, no directory made or removed, no upload begun: each refusal says so (api)."""
    zone.write("/own", "text")
    add(zone, "/m", filled(tmp_path / "one", "a/b"), readonly=False)
    with platform.unchanged():
        for path in ("/m", "/m/a/b", "/m/new"):
            denied(zone, -32004, "mount_unsupported", "mkdir", path=path, parents=True)
            denied(zone, -32004, "mount_unsupported", "rmdir", path=path, recursive=True)
            denied(zone, -32004, "mount_unsupported", "rename", old_path="/own", new_path=path)
            denied(zone, -32004, "mount_unsupported", "rename", old_path=path, new_path="/new")
            refused(uploads.create(zone, uploads.metadata(path), uploads.length(4)), 409, "upload_target_blocked")


@case("mount-writes/011", "writeFile exists", "deleteFile result")
def test_a_change_that_is_delivered_while_another_waits(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """What waits while a change is delivered is judged by what the backend has then (004)."""
    add(zone, "/m", filled(tmp_path / "one", "c"), readonly=False)
    calls = [
        partial(zone.call, "write", path="/m/c", content="x", if_none_match="*"),
        partial(zone.call, "delete", path="/m/c"),
    ]
    answers = []
    with psycopg.connect(platform.system.target.database_url or "") as owner, ThreadPoolExecutor(1) as pool:
        for call in calls:
            zone.write("/m/c", "ours")
            owner.execute("select from files where zone_id = %s for update", [zone.zone_id])
            waiting = pool.submit(call)
            eventually(partial(blocked, platform.system, 1), within_s=4.0)
            for statement in DELIVERED:
                owner.execute(statement, [zone.zone_id])
            owner.commit()
            answers.append(waiting.result())
    assert refusal(answers[0]) == (-32001, "exists")
    assert answered(answers[1]) == {"deleted": True}
    assert changes(platform, zone) == {"c": "delete"}
    platform.adds_up(zone.zone_id)
