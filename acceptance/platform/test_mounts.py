"""The registry of mounts: added, replaced, saved, loaded, removed, listed; where they may be, and what they keep."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from acceptance.platform.mounts import add, told
from acceptance.platform.zones import Platform, denied
from acceptance.suite.case import case
from acceptance.system.system import System
from acceptance.system.web_workers import both, race
from harness.platform.rpc import answered
from harness.platform.zone import Zone

SHOWN = {
    "mount_id", "mount_point", "backend_type", "readonly", "priority", "saved", "active", "description", "created_at",
}  # fmt: skip
S3 = {
    "bucket": "a-bucket",
    "endpoint": "http://127.0.0.1:9",
    "access_key_id": "hunter2-id",
    "secret_access_key": "hunter2-secret",
}


@case("mounts/001", "addMount result", "getMount result", "hasMount result", "listMounts result")
def test_a_mount_is_shown_at_every_worker(two_workers: System, platform_of_two: Platform, tmp_path: Path) -> None:
    """A mount is there with the next request, at every worker; the root is listed last; its directory is made (004)."""
    zone = platform_of_two.zone()
    root = zone.rpc("list_mounts")
    answer = zone.call(
        "add_mount", mount_point="/data", backend_type="local", readonly=True, priority=7, description="theirs",
        backend_config={"root_path": str(tmp_path / "made" / "here")},
    )  # fmt: skip
    mount_id = answered(answer)
    low = add(zone, "/a", tmp_path / "low")
    assert (tmp_path / "made" / "here").is_dir()
    with both(two_workers):
        for _ in range(2):
            mount = zone.rpc("get_mount", mount_point="/data")
            assert mount.keys() == SHOWN
            assert mount | {"created_at": None} == {
                "mount_id": mount_id, "mount_point": "/data", "backend_type": "local", "readonly": True, "priority": 7,
                "saved": False, "active": True, "description": "theirs", "created_at": None,
            }  # fmt: skip
            assert [one["mount_id"] for one in zone.rpc("list_mounts")] == [mount_id, low, root[0]["mount_id"]]
            assert zone.rpc("get_mount", mount_point="/") == root[0]
            assert zone.rpc("get_mount", mount_point="/data/below") is None
            found = [zone.rpc("has_mount", mount_point=point) for point in ("/", "/data", "/dat", "/data/below")]
            assert found == [True, True, False, False]
    assert (root[0]["backend_type"], root[0]["active"], len(root)) == ("native", True, 1)
    assert told(zone) == [("mount.added", "/data"), ("mount.added", "/a")]
    [line] = two_workers.logs.of(answer, "platform.mount.added")
    assert (line["mount_point"], line["backend_type"], line["level"]) == ("/data", "local", "INFO")


@case("mounts/002", "addMount result", "removeMount result", "listSavedMounts result")
def test_the_same_point_again_replaces(zone: Zone, tmp_path: Path) -> None:
    """Another mount at the same point has another id, and is not saved; both changes have their event (platform.md)."""
    first = add(zone, "/data", tmp_path / "one")
    zone.rpc("save_mount", mount_point="/data")
    second = add(zone, "/data", tmp_path / "two", priority=1)
    assert first != second
    assert [one["mount_id"] for one in zone.rpc("list_mounts")][:-1] == [second]
    assert zone.rpc("list_saved_mounts") == []
    assert told(zone) == [(f"mount.{what}", "/data") for what in ("added", "saved", "removed", "added")]
    gone = {"removed": True, "directory_deleted": False, "errors": []}
    assert zone.rpc("remove_mount", mount_point="/data") == gone
    assert zone.rpc("remove_mount", mount_point="/data") == gone | {"removed": False}
    assert told(zone)[4:] == [("mount.removed", "/data")]
    assert not zone.rpc("has_mount", mount_point="/data")
    assert (tmp_path / "two").is_dir()


@case("mounts/003", "saveMount result", "loadMount result", "deleteSavedMount result", "listSavedMounts result")
def test_saved_and_active_are_two_facts(zone: Zone, system: System, tmp_path: Path) -> None:
    """A saved mount is loaded under its id after it was removed; what is kept no longer is gone with its end (004)."""
    of_data = {"mount_point": "/data"}
    mount_id = add(zone, "/data", tmp_path / "one")
    saving = zone.call("save_mount", **of_data)
    assert [answered(saving), zone.rpc("save_mount", **of_data), zone.rpc("load_mount", **of_data)] == [mount_id] * 3
    removing = zone.call("remove_mount", **of_data)
    assert answered(removing)["removed"]
    [saved] = zone.rpc("list_saved_mounts")
    assert (saved["mount_id"], saved["saved"], saved["active"]) == (mount_id, True, False)
    assert zone.rpc("get_mount", **of_data) is None
    assert len(zone.rpc("list_mounts")) == 1
    assert zone.rpc("load_mount", **of_data) == mount_id
    assert zone.rpc("get_mount", **of_data)["saved"]
    assert [zone.rpc("delete_saved_mount", **of_data) for _ in range(2)] == [True, False]
    assert (zone.rpc("get_mount", **of_data)["saved"], zone.rpc("list_saved_mounts")) == (False, [])
    zone.rpc("save_mount", **of_data)
    zone.rpc("remove_mount", **of_data)
    assert zone.rpc("delete_saved_mount", **of_data)
    denied(zone, -32000, "mount_not_found", "load_mount", **of_data)
    assert [what for what, _ in told(zone)] == [
        f"mount.{what}" for what in ("added", "saved", "removed", "added", "saved", "removed")
    ]
    for answer, what in ((saving, "saved"), (removing, "removed")):
        assert [line["mount_point"] for line in system.logs.of(answer, f"platform.mount.{what}")] == ["/data"]


@case(
    "mounts/004",
    "addMount path_invalid",
    "addMount root_path_forbidden",
    "addMount backend_unknown",
    "addMount secrets_not_kept",
    "addMount endpoint_forbidden",
    "addMount not_a_directory",
    "addMount invalid_params",
)
def test_what_cannot_be_mounted(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """No mount at the root or below a file; no directory but below an allowed root, wherever links lead (004)."""
    zone.write("/file", "text")
    (tmp_path / "file").write_text("text")
    (tmp_path / "out").symlink_to("/usr")
    (tmp_path / "round").symlink_to("round")
    of_amazon = {name: value for name, value in S3.items() if name != "endpoint"}
    refusals: list[tuple[int, str, dict[str, Any]]] = [
        (-32002, "path_invalid", {"mount_point": "/"}),
        (-32002, "path_invalid", {"mount_point": "data"}),
        *(
            (-32005, "root_path_forbidden", {"backend_config": {"root_path": str(root)}})
            for root in (
                "/usr",
                tmp_path / "out",
                "/tmp/../usr",
                f"{tmp_path}/round/a",
                tmp_path / "file",
                tmp_path / "file" / "a",
                tempfile.gettempdir(),
            )
        ),
        (-32005, "backend_unknown", {"backend_type": "ftp"}),
        (-32005, "backend_unknown", {"backend_type": "native", "backend_config": {}}),
        (-32005, "endpoint_forbidden", {"backend_type": "s3", "backend_config": S3}),
        (-32005, "secrets_not_kept", {"backend_type": "s3", "backend_config": of_amazon}),
        (-32006, "not_a_directory", {"mount_point": "/file/data"}),
        (-32602, "invalid_params", {"backend_config": {}}),
        (-32602, "invalid_params", {"backend_config": {"root_path": "here"}}),
        (-32602, "invalid_params", {"backend_config": {"root_path": str(tmp_path), "other": "a"}}),
        (-32602, "invalid_params", {"backend_type": "s3", "backend_config": S3 | {"endpoint": "file:///etc"}}),
        (-32602, "invalid_params", {"priority": 1001}),
        (-32602, "invalid_params", {"description": "\x00"}),
    ]
    good = {"mount_point": "/data", "backend_type": "local", "readonly": True}
    good |= {"backend_config": {"root_path": str(tmp_path / "good")}}
    with platform.unchanged():
        for code, kind, fields in refusals:
            error = denied(zone, code, kind, "add_mount", **(good | fields))
            assert "hunter2" not in str(error.data)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "out", "round", "good"}


@case("mounts/005", "addMount result", "listConnectors result")
def test_secrets_are_write_only(sweeping: Platform) -> None:
    """The key of a bucket rests encrypted, and no answer, event or log line has them (platform.md: write-only)."""
    system, zone = sweeping.system, sweeping.zone()
    answer = zone.call("add_mount", mount_point="/s3", backend_type="s3", backend_config=S3, readonly=True)
    answered(answer)
    shown = [zone.rpc("list_mounts"), zone.log(), *system.logs.since()]
    [kept] = system.db.rows("select config, secret from mounts where zone_id = %s", zone.zone_id)
    assert kept["config"] == {name: S3[name] for name in ("bucket", "endpoint", "access_key_id")}
    assert len(kept["secret"]) >= 100
    assert "hunter2" not in str(shown)
    assert "hunter2" not in kept["secret"]
    connectors = zone.rpc("list_connectors")
    assert [one["name"] for one in connectors] == ["local", "s3", "native"]
    assert all(one.keys() == {"name", "type", "category", "description", "schema"} for one in connectors)
    assert set(connectors[1]["schema"]["properties"]) == {*S3, "prefix", "region"}
    assert [one["name"] for one in zone.rpc("list_connectors", category="platform")] == ["native"]


@case("mounts/006", "* role_forbidden")
def test_agents_have_no_mounts(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """A key of role agent neither sees nor changes mounts (platform.md: who may call)."""
    agent, point = platform.agent(zone.zone_id, "worker-7"), {"mount_point": "/data"}
    local = {"backend_type": "local", "backend_config": {"root_path": str(tmp_path)}, "readonly": True}
    calls: dict[str, dict[str, Any]] = {
        "add_mount": point | local,
        **dict.fromkeys(("get_mount", "has_mount", "remove_mount", "save_mount", "load_mount"), point),
        "delete_saved_mount": point,
        **{method: {} for method in ("list_mounts", "list_saved_mounts", "list_connectors")},
        "rebac_list_tuples": {"object": ["file", "/data"]},
    }
    with platform.unchanged():
        for method, params in calls.items():
            denied(agent, -32003, "role_forbidden", method, **params)


@case("mounts/007", "listOwners result", "listOwners path_invalid")
def test_whose_a_mount_is(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """The key that added a mount owns it; what is no mount has no owner here (platform.md: owner relation)."""
    mount_id = add(zone, "/data", tmp_path / "one")
    name = platform.system.db.value("select owner from mounts where zone_id = %s", zone.zone_id)
    assert zone.rpc("rebac_list_tuples", object=["file", "/data"]) == [
        {
            "tuple_id": mount_id, "subject_type": "key", "subject_id": name, "relation": "direct_owner",
            "object_type": "file", "object_id": "/data",
        }
    ]  # fmt: skip
    known = "select count(*) from api_keys where name = %s and zone = %s"
    assert platform.system.db.value(known, name, zone.zone_id) == 1
    for other in (["file", "/data/a"], ["zone", "/data"], ["file", "/"]):
        assert zone.rpc("rebac_list_tuples", object=other) == []
    denied(zone, -32002, "path_invalid", "rebac_list_tuples", object=["file", "data"])


@case(
    "mounts/008",
    "saveMount mount_not_found",
    "loadMount mount_not_found",
    "* path_invalid",
    "removeMount result",
)
def test_mounts_that_are_not_there(zone: Zone, platform: Platform) -> None:
    """What names no mount is refused, or nothing; the root is no mount that could be changed (platform.md)."""
    with platform.unchanged():
        for method in ("save_mount", "load_mount"):
            denied(zone, -32000, "mount_not_found", method, mount_point="/data")
        for method in ("remove_mount", "save_mount", "load_mount", "delete_saved_mount"):
            denied(zone, -32002, "path_invalid", method, mount_point="/")
        for method in ("get_mount", "has_mount"):
            denied(zone, -32002, "path_invalid", method, mount_point="data/")
        assert zone.rpc("delete_saved_mount", mount_point="/data") is False
        assert zone.rpc("remove_mount", mount_point="/data")["removed"] is False


@case("mounts/009", "addMount mount_has_changes", "removeMount mount_has_changes")
@pytest.mark.parametrize("left", ["change", "conflict"])
def test_what_is_undelivered_keeps_its_mount(left: str, zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """Neither replaced nor removed with changes to deliver or open conflicts, but by force, which refunds (004)."""
    mount_id = add(zone, "/data", tmp_path / "one")
    values = {"zone": zone.zone_id, "mount": mount_id}
    if left == "change":
        platform.write(
            "insert into mount_changes (zone_id, mount_id, path, kind) values (%(zone)s, %(mount)s, 'a', 'write')",
            **values,
        )
        zone.write("/a", "text")
        private = "'/' || chr(1) || %(mount)s || '/a'"
        platform.write(f"update files set path = {private} where zone_id = %(zone)s and path = '/a'", **values)
    else:
        platform.write(
            "insert into mount_conflicts (zone_id, mount_id, mount_point, path)"
            " values (%(zone)s, %(mount)s, '/data', 'a')",
            **values,
        )
    with platform.unchanged():
        for method in ("add_mount", "remove_mount"):
            local = {"backend_type": "local", "backend_config": {"root_path": str(tmp_path / "one")}, "readonly": True}
            more = local if method == "add_mount" else {}
            denied(zone, -32006, "mount_has_changes", method, mount_point="/data", **more)
    assert zone.rpc("remove_mount", mount_point="/data", force=True)["removed"]
    assert set(zone.usage().values()) == {0}
    platform.adds_up(zone.zone_id)
    assert platform.rows(zone.zone_id).keys() == {"events", "zones"}


@case("mounts/010", "addMount result")
def test_of_mounts_at_one_point_one_is_left(two_workers: System, platform_of_two: Platform, tmp_path: Path) -> None:
    """Eight that mount at one point at once, at two workers, leave one mount, and an event of each change (004)."""
    zone = platform_of_two.zone()
    local = {"backend_type": "local", "readonly": True}
    calls = [
        partial(zone.call, "add_mount", mount_point="/data", backend_config={"root_path": f"{tmp_path}/{n}"}, **local)
        for n in range(8)
    ]
    made = [answered(answer) for answer in race(two_workers, calls)]
    assert len(set(made)) == 8
    [mount] = zone.rpc("list_mounts")[:-1]
    assert mount["mount_id"] in made
    kinds = [what for what, _ in told(zone)]
    assert kinds == ["mount.added", *["mount.removed", "mount.added"] * 7]


@case("mounts/011", "loadMount not_a_directory", "writeFile is_a_directory")
def test_no_file_above_a_mount(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """No file comes to lie where a mount needs a directory, nor a mount below a file (platform.md: paths)."""
    add(zone, "/a/b", tmp_path / "one")
    with platform.unchanged():
        denied(zone, -32006, "is_a_directory", "write", path="/a", content="text")
    zone.rpc("save_mount", mount_point="/a/b")
    zone.rpc("remove_mount", mount_point="/a/b")
    zone.write("/a", "text")
    with platform.unchanged():
        denied(zone, -32006, "not_a_directory", "load_mount", mount_point="/a/b")


@case("mounts/012", "listMounts result")
def test_zones_have_mounts_of_their_own(platform: Platform, tmp_path: Path) -> None:
    """A member sees and ends no mount of another zone, whose id changes nothing (004: isolation)."""
    one, other = platform.zone(), platform.zone()
    add(one, "/data", tmp_path / "one")
    assert len(other.rpc("list_mounts")) == 1
    assert other.rpc("rebac_list_tuples", object=["file", "/data"]) == []
    assert not other.rpc("remove_mount", mount_point="/data")["removed"]
    assert one.rpc("has_mount", mount_point="/data")
