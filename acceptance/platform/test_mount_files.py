"""Files below mounts: lists through them, what the zone has not brought to a backend, what cannot be done there."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from acceptance.platform.mounts import add, filled
from acceptance.platform.test_zone_requests import blocked, refusal
from acceptance.platform.zones import MIB, Platform, denied
from acceptance.suite.case import case
from acceptance.system.match import accepted, refused
from harness.http.client import Answer
from harness.platform.uploads import begin
from harness.platform.zone import Zone
from harness.waiting import eventually

OWN = ["/a-b", "/a/of the zone", "/a0", "/k", "/m/shadowed", "/n/x"]
OF_ONE = ["b", "c/d", "c/e/f", "c-", "in/hidden", "x", "z"]
OF_TWO = ["c", "d/e"]
ALL = [
    *("/a-b", "/a/m/in/c", "/a/m/in/d/e"),
    *("/a/of the zone", "/a0", "/k/c", "/k/d/e", "/m/b", "/m/c-", "/m/c/d", "/m/c/e/f"),
    *("/m/in/c", "/m/in/d/e", "/m/x", "/m/z", "/n/x"),
]
MOUNTED = """
    insert into mounts (zone_id, mount_point, owner, backend_type, config, readonly)
    values (%s, %s, 'somebody', 'local', '{"root_path": "/nowhere"}', true)
"""


@pytest.fixture
def through(zone: Zone, tmp_path: Path) -> Zone:
    """A zone with mounts beside, below and in one another."""
    for path in OWN:
        zone.write(path, path)
    add(zone, "/m", filled(tmp_path / "one", *OF_ONE))
    add(zone, "/m/in", filled(tmp_path / "two", *OF_TWO))
    for point in ("/a/m/in", "/k"):
        add(zone, point, tmp_path / "two")
    return zone


@case("mount-files/001", "listDirectory result", "listDirectory not_found", "listDirectory not_a_directory")
@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
def test_lists_go_through_mounts(limit: int, through: Zone) -> None:
    """A list has what is seen, each once, in the order of bytes, in pages of any size; mounts are directories (004)."""

    def names(path: str, *, recursive: bool = False) -> list[tuple[str, str]]:
        found = through.entries(path, recursive=recursive, limit=limit)
        return [(entry["path"], entry["type"]) for entry in found]

    assert names("/", recursive=True) == [(path, "file") for path in ALL]
    assert names("/m", recursive=True) == [(path, "file") for path in ALL if path.startswith("/m/")]
    assert names("/m/in", recursive=True) == [("/m/in/c", "file"), ("/m/in/d/e", "file")]
    assert names("/m/c", recursive=True) == [("/m/c/d", "file"), ("/m/c/e/f", "file")]
    assert names("/") == [
        ("/a-b", "file"), ("/a", "directory"), ("/a0", "file"),
        ("/k", "directory"), ("/m", "directory"), ("/n", "directory"),
    ]  # fmt: skip
    assert names("/a") == [("/a/m", "directory"), ("/a/of the zone", "file")]
    assert names("/a/m") == [("/a/m/in", "directory")]
    assert names("/m") == [
        ("/m/b", "file"), ("/m/c-", "file"), ("/m/c", "directory"),
        ("/m/in", "directory"), ("/m/x", "file"), ("/m/z", "file"),
    ]  # fmt: skip
    assert names("/m/in") == [("/m/in/c", "file"), ("/m/in/d", "directory")]
    for path, recursive in (("/m/nowhere", False), ("/m/in/nowhere", True)):
        denied(through, -32000, "not_found", "list", path=path, recursive=recursive)
    denied(through, -32006, "not_a_directory", "list", path="/m/b")


@case("mount-files/002", "readFile too_large", "readFile is_a_directory", "readFile not_found", "pathExists result")
def test_what_is_read_below_a_mount(zone: Zone, tmp_path: Path) -> None:
    """Ranges, sizes and etags are those of the backend's file as it is now; directories are none (platform.md)."""
    root, large = filled(tmp_path / "one", "a/b"), bytes(range(256)) * (9 * MIB // 256)
    (root / "large").write_bytes(large)
    (root / "none").write_bytes(b"")
    add(zone, "/m/in", root)
    denied(zone, -32005, "too_large", "read", path="/m/in/large")
    assert zone.read_range("/m/in/large", 8 * MIB - 3, MIB) == large[8 * MIB - 3 : 9 * MIB - 3]
    assert zone.read_range("/m/in/large", 10 * MIB, 5) == b""
    assert zone.read("/m/in/none") == b""
    first = zone.rpc("read", path="/m/in/a/b", offset=0)
    [listed] = zone.entries("/m/in/a")
    assert (listed["size"], listed["etag"]) == (first["size"], first["etag"]) == (3, first["etag"])
    (root / "a" / "b").write_text("other")
    assert zone.read("/m/in/a/b") == b"other"
    assert zone.rpc("read", path="/m/in/a/b", offset=0)["etag"] != first["etag"]
    for path in ("/m", "/m/in", "/m/in/a"):
        denied(zone, -32006, "is_a_directory", "read", path=path)
        assert zone.rpc("exists", path=path)
    for path in ("/m/i", "/m/in/a/c", "/m/in/a/b/c", "/m/in/nowhere"):
        denied(zone, -32000, "not_found", "read", path=path)
        assert not zone.rpc("exists", path=path)


@case(
    "mount-files/003",
    "readFile backend_unavailable",
    "listDirectory backend_unavailable",
    "pathExists backend_unavailable",
)
def test_a_backend_that_is_away(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """Without its backend nothing is read below a mount, and all beside it is; it is back with the next call (004)."""
    root = filled(tmp_path / "one", "a/b")
    zone.write("/own", "text")
    add(zone, "/m", root)
    shutil.move(root, tmp_path / "away")
    with platform.unchanged():
        for method in ("read", "exists", "list"):
            away = denied(zone, -32011, "backend_unavailable", method, path="/m/a/b" if method != "list" else "/m/a")
            assert away.data["reason"] == "no_root"
        denied(zone, -32011, "backend_unavailable", "list", path="/", recursive=True)
        assert zone.read("/own") == b"text"
        assert zone.paths("/", recursive=False) == ["/m", "/own"]
    shutil.move(tmp_path / "away", root)
    assert zone.read("/m/a/b") == b"a/b"


@case(
    "mount-files/004",
    "renamePath mount_unsupported",
    "makeDirectory exists",
    "removeDirectory mount_unsupported",
    "deleteFile is_a_directory",
)
def test_no_tree_with_a_mount_is_moved(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """A tree that a mount lies in is neither moved nor removed, nor does one come to lie over a mount (004)."""
    zone.write("/a/b", "text")
    zone.write("/c", "text")
    add(zone, "/a/in/m", filled(tmp_path / "one", "d"))
    with platform.unchanged():
        denied(zone, -32004, "mount_unsupported", "rename", old_path="/a", new_path="/e")
        denied(zone, -32004, "mount_unsupported", "rename", old_path="/a/in", new_path="/e")
        denied(zone, -32004, "mount_unsupported", "rename", old_path="/c", new_path="/a/in")
        denied(zone, -32004, "mount_unsupported", "rmdir", path="/a", recursive=True)
        denied(zone, -32004, "mount_unsupported", "rmdir", path="/a/in")
        denied(zone, -32001, "exists", "mkdir", path="/a/in")
        denied(zone, -32006, "is_a_directory", "delete", path="/a/in")
    assert zone.rpc("rename", old_path="/a/b", new_path="/a/in/b")["renamed"]
    assert zone.paths() == ["/a/in/b", "/a/in/m/d", "/c"]


@case(
    "mount-files/005",
    "writeFile mount_changed",
    "deleteFile mount_changed",
    "renamePath mount_changed",
    "makeDirectory mount_changed",
    "removeDirectory mount_changed",
    "appendToUpload 409",
)
def test_a_mount_that_comes_while_a_call_waits(zone: Zone, platform: Platform) -> None:
    """What waits for the zone while something is mounted there changes nothing, below it nor of it (004)."""
    for path in ("/m/a", "/m/b", "/m/tree/a", "/over/m/a", "/c"):
        zone.write(path, "text")
    upload = begin(zone, "/m/up", 4)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("write", {"path": "/m/a", "content": "new"}),
        ("write", {"path": "/m/new", "content": "new"}),
        ("delete", {"path": "/m/b"}),
        ("mkdir", {"path": "/m/made"}),
        ("rename", {"old_path": "/c", "new_path": "/m/c"}),
        ("rename", {"old_path": "/m/tree", "new_path": "/tree"}),
        ("rename", {"old_path": "/over", "new_path": "/tree"}),
        ("rmdir", {"path": "/m/tree", "recursive": True}),
        ("rmdir", {"path": "/over", "recursive": True}),
    ]
    waits: list[Callable[[], Answer]] = [partial(zone.call, method, **params) for method, params in calls]
    waits.append(partial(upload.append, b"text", 0))
    answers = []
    with psycopg.connect(platform.system.target.database_url or "") as owner, ThreadPoolExecutor(1) as pool:
        for wait in waits:
            owner.execute("select from zones where zone_id = %s for update", [zone.zone_id])
            waiting = pool.submit(wait)
            eventually(partial(blocked, platform.system, 1), within_s=4.0)
            for point in ("/m", "/over/m"):
                owner.execute(MOUNTED, [zone.zone_id, point])
            owner.commit()
            answers.append(waiting.result())
            owner.execute("delete from mounts where zone_id = %s", [zone.zone_id])
            owner.commit()
    assert [refusal(answer) for answer in answers[:-1]] == [(-32006, "mount_changed")] * len(calls)
    refused(answers[-1], 409, "upload_target_blocked")
    assert zone.paths() == ["/c", "/m/a", "/m/b", "/m/tree/a", "/over/m/a"]
    assert [event["type"] for event in zone.log()][1:] == ["write"] * 5 + ["upload.created"]
    assert accepted(zone.call("read", path="/m/a"))["result"]
