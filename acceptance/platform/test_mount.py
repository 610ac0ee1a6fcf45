"""The rows `mount` of seed 004: what is at a backend is there at the path of its mount."""

from pathlib import Path

import pytest

from acceptance.platform.bricks import unmounted
from acceptance.platform.mounts import add, filled, tree_hash
from acceptance.platform.zones import Platform, denied
from acceptance.suite.case import case
from acceptance.system.match import refused
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import both
from harness.platform import uploads
from harness.platform.rpc import unwrapped
from harness.platform.zone import Zone

pytestmark = [pytest.mark.auto, pytest.mark.mount]


def shows_the_backend(zone: Zone, root: Path) -> None:
    """The files below /data are those of its directory, and those below /data/in those of another one."""
    (root / "now").write_text("as it is now")
    assert zone.read("/data/now") == b"as it is now"
    assert zone.read("/data/a/b") == b"a/b"
    assert zone.read_range("/data/a/b", 1, 100) == b"/b"
    assert zone.rpc("read", path="/data/a/b", offset=1)["size"] == 3
    assert zone.read("/data/in/c") == b"c"
    found = [zone.rpc("exists", path=f"/data{path}") for path in ("", "/a", "/a/b", "/in/c", "/in/hidden", "/c")]
    assert found == [True, True, True, True, False, False]
    assert zone.paths("/data") == ["/data/a-", "/data/a/b", "/data/in/c", "/data/now", "/data/z"]


@case("mount/001", "readFile result", "listDirectory result", "pathExists result")
def test_a_file_of_the_backend_is_readable(two_workers: System, platform_of_two: Platform, tmp_path: Path) -> None:
    """A file of the backend is read at its path, by the longest mount point, at each worker, as it is now (004)."""
    zone = platform_of_two.zone()
    zone.write("/data/of the zone", "shadowed")
    add(zone, "/data", filled(tmp_path / "one", "a/b", "a-", "z", "in/hidden"))
    add(zone, "/data/in", filled(tmp_path / "two", "c"))
    with both(two_workers):
        for _ in range(2):
            shows_the_backend(zone, tmp_path / "one")


@case("mount/004", "readFile result", slow="restarts its backend")
def test_a_mount_outlives_a_restart(fresh_backend: FreshBackend, tmp_path: Path) -> None:
    """After a restart of the service a mount is there as before (004)."""
    system: System = fresh_backend(workers=2)
    zone = Platform(system).zone()
    add(zone, "/data", filled(tmp_path / "one", "a/b", "a-", "z", "in/hidden"))
    add(zone, "/data/in", filled(tmp_path / "two", "c"))
    system.running.backend.restart()
    system.api.reconnect()
    shows_the_backend(zone, tmp_path / "one")


@case("mount/002", "removeMount result", "readFile not_found", "listDirectory result", "* 503")
def test_what_lay_there_is_seen_again(two_workers: System, platform_of_two: Platform, tmp_path: Path) -> None:
    """Removed, a mount shows what it hid, and its backend keeps all; its brick away: 503 at each worker (004)."""
    zone, root = platform_of_two.zone(), filled(tmp_path / "one", "a/b", "c")
    zone.write("/data/a/b", "of the zone")
    zone.write("/data/d", "of the zone")
    zone.write("/other", "text")
    add(zone, "/data", root)
    before = tree_hash(root)
    assert zone.paths() == ["/data/a/b", "/data/c", "/other"]
    with unmounted(platform_of_two, "mounts"), both(two_workers), platform_of_two.unchanged():
        for _ in range(2):
            for method in ("read", "list", "exists", "delete", "rmdir", "mkdir"):
                refused(zone.call(method, path="/data/a/b"), 503, "brick_unmounted")
            refused(zone.call("list", path="/", recursive=True), 503, "brick_unmounted")
            refused(zone.call("write", path="/data/c", content="text"), 503, "brick_unmounted")
            assert zone.read("/other") == b"text"
    with both(two_workers):
        for _ in range(2):
            assert zone.read("/data/a/b") == b"a/b"
    assert zone.rpc("remove_mount", mount_point="/data")["removed"]
    with both(two_workers):
        for _ in range(2):
            assert zone.read("/data/a/b") == b"of the zone"
            denied(zone, -32000, "not_found", "read", path="/data/c")
            assert zone.paths() == ["/data/a/b", "/data/d", "/other"]
    assert tree_hash(root) == before


@case(
    "mount/003",
    "writeFile mount_readonly",
    "deleteFile mount_readonly",
    "renamePath mount_readonly",
    "makeDirectory mount_readonly",
    "removeDirectory mount_readonly",
    "createUpload 409",
)
def test_a_mount_that_can_only_be_read(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """Each change below a mount that can only be read is refused, and its backend's tree is the same (004)."""
    root = filled(tmp_path / "one", "a/b", "c")
    zone.write("/own", "text")
    zone.write("/data/old", "shadowed")
    add(zone, "/data", root)
    before = tree_hash(root)
    with platform.unchanged():
        for path in ("/data", "/data/c", "/data/new", "/data/old", "/data/a/b/c"):
            denied(zone, -32004, "mount_readonly", "write", path=path, content="text")
            denied(zone, -32004, "mount_readonly", "write", path=path, content="x" * 70_000)
            denied(zone, -32004, "mount_readonly", "delete", path=path)
            denied(zone, -32004, "mount_readonly", "mkdir", path=path, parents=True)
            denied(zone, -32004, "mount_readonly", "rmdir", path=path, recursive=True)
            denied(zone, -32004, "mount_readonly", "rename", old_path="/own", new_path=path)
            denied(zone, -32004, "mount_readonly", "rename", old_path=path, new_path="/new")
            refused(uploads.create(zone, uploads.metadata(path), uploads.length(4)), 409, "upload_target_blocked")
    assert tree_hash(root) == before
    assert unwrapped(zone.rpc("read", path="/data/c")) == b"c"
