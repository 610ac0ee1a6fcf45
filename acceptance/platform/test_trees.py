"""Directories: their lists in every shape and page by page, and trees that are renamed and removed as a whole."""

import base64
from collections.abc import Callable

import pytest

from acceptance.platform.zones import MIB, Platform, denied
from acceptance.suite.case import case
from acceptance.system.system import FreshBackend
from harness.platform.zone import Zone

TREE = ["/a", "/b/c", "/b/d/e", "/b/d/f", "/b-c", "/b0", "/g/h/i/j", "/g-h", "/\u00e9"]
MANY = """
    insert into files (zone_id, path, file_id, kind, size, etag, version, content, modified_at)
    select %(zone)s, '/many/' || lpad(n::text, 6, '0'), gen_random_uuid(), 'file', 0, %(etag)s, 1, '', now()
    from generate_series(1, %(count)s) n
"""
LONG = """
    insert into files (zone_id, path, file_id, kind, size, etag, version, content, modified_at)
    select zone_id, '/' || lpad(n::text, 300, 'n'), gen_random_uuid(), 'file', 0, %(etag)s, 1, '', now()
    from zones cross join generate_series(1, 50) n where zone_id = any(%(zones)s)
"""
OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture
def tree(zone: Zone) -> Zone:
    for path in TREE:
        zone.write(path, path)
    zone.rpc("mkdir", path="/empty")
    zone.rpc("mkdir", path="/g", parents=True)  # one that is made and implied
    return zone


def names(zone: Zone, path: str, *, recursive: bool = False) -> list[tuple[str, str]]:
    return [(entry["path"], entry["type"]) for entry in zone.entries(path, recursive=recursive)]


@case("trees/001", "listDirectory result", "listDirectory not_found")
def test_a_directory_is_listed(tree: Zone, platform: Platform) -> None:
    """A list has the files and directories of a directory, or all below it, in the order of bytes (platform.md)."""
    assert names(tree, "/") == [
        ("/a", "file"),
        ("/b-c", "file"),
        ("/b", "directory"),
        ("/b0", "file"),
        ("/empty", "directory"),
        ("/g", "directory"),
        ("/g-h", "file"),
        ("/\u00e9", "file"),
    ]
    assert names(tree, "/b") == [("/b/c", "file"), ("/b/d", "directory")]
    assert names(tree, "/b", recursive=True) == [(path, "file") for path in ("/b/c", "/b/d/e", "/b/d/f")]
    assert ("/g", "directory") in names(tree, "/", recursive=True)
    assert names(tree, "/empty") == names(tree, "/empty", recursive=True) == []
    implied = next(entry for entry in tree.entries("/", recursive=False) if entry["path"] == "/b")
    assert implied == {"path": "/b", "type": "directory", "size": 0, "etag": None, "modified_at": None}
    made = next(entry for entry in tree.entries("/", recursive=False) if entry["path"] == "/empty")
    assert (made["size"], made["etag"]) == (0, None)
    assert made["modified_at"] is not None
    with platform.unchanged():
        for path in ("/nowhere", "/b/d/g", "/b-"):
            denied(tree, -32000, "not_found", "list", path=path)


@case("trees/002", "listDirectory result")
@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_list_is_paged(limit: int, recursive: bool, tree: Zone) -> None:
    """Pages of any size have each entry once, in one order; a directory of many files is one entry (platform.md)."""
    for path in ("/", "/b", "/g"):
        whole = list(tree.entries(path, recursive=recursive))
        assert list(tree.entries(path, recursive=recursive, limit=limit)) == whole
        page = tree.rpc("list", path=path, recursive=recursive, limit=len(whole))
        assert (page["entries"], page["next_cursor"]) == (whole, None)


@case("trees/003", "listDirectory cursor_invalid")
def test_a_cursor_that_is_none(tree: Zone, platform: Platform) -> None:
    """A cursor that the service did not give, or gave for another list, is refused (platform.md)."""
    good = tree.rpc("list", limit=1)["next_cursor"]
    of_b = tree.rpc("list", path="/b", limit=1)["next_cursor"]
    respelt = of_b[:-1] + chr(ord(of_b[-1]) + 1)  # of the same bytes: the last letter has bits to spare
    forged = base64.urlsafe_b64encode(b"/b\xff").decode()
    with platform.unchanged():
        for cursor in ("x", "A" * 1000, good + "A", forged):
            denied(tree, -32005, "cursor_invalid", "list", limit=1, cursor=cursor)
        denied(tree, -32005, "cursor_invalid", "list", path="/g", limit=1, cursor=good)
        denied(tree, -32005, "cursor_invalid", "list", path="/b", limit=1, cursor=respelt)
        for cursor in ("", "no cursor", "A" * 5000, "\0", "\u00e9"):
            denied(tree, -32602, "invalid_params", "list", limit=1, cursor=cursor)


@case("trees/004", "renamePath result")
def test_a_tree_is_renamed(tree: Zone, platform: Platform) -> None:
    """A renamed directory takes all below it along, in one event, and nothing beside it (platform.md)."""
    tree.write("/b/large", b"x" * MIB)
    before, usage, events = {path: tree.read(path) for path in ("/b/c", "/b/d/e", "/b/large")}, tree.usage(), tree.log()
    told = tree.rpc("rename", old_path="/b", new_path="/new/b")
    assert told == {"renamed": True, "old_path": "/b", "new_path": "/new/b"}
    assert {path: tree.read(f"/new{path}") for path in before} == before
    assert not tree.rpc("exists", path="/b")
    assert [path for path, _ in names(tree, "/")] == ["/a", "/b-c", "/b0", "/empty", "/g", "/g-h", "/new", "/\u00e9"]
    assert tree.usage() == usage
    [event] = tree.log()[len(events) :]
    assert (event["type"], event["path"], event["new_path"]) == ("rename", "/b", "/new/b")
    tree.rpc("rename", old_path="/empty", new_path="/still-empty")
    assert names(tree, "/still-empty") == []
    platform.adds_up(tree.zone_id)


@case("trees/005", "renamePath not_found", "renamePath exists", "renamePath not_a_directory")
def test_a_rename_that_cannot_be(tree: Zone, platform: Platform) -> None:
    """What is not there is not renamed, nothing onto what is there, no tree into itself (platform.md)."""
    with platform.unchanged():
        denied(tree, -32000, "not_found", "rename", old_path="/nowhere", new_path="/x")
        for target in ("/b", "/empty", "/b/d", "/b0", "/g"):
            denied(tree, -32001, "exists", "rename", old_path="/a", new_path=target)
        denied(tree, -32001, "exists", "rename", old_path="/b", new_path="/g")
        for inside in ("/b", "/b/x", "/b/d/x"):
            denied(tree, -32002, "path_invalid", "rename", old_path="/b", new_path=inside)
        too_long = "/x" * 511  # with `/d/e` behind it
        denied(tree, -32002, "path_invalid", "rename", old_path="/b", new_path=too_long)
        denied(tree, -32006, "not_a_directory", "rename", old_path="/b", new_path="/a/b")


@case("trees/006", "removeDirectory result", "* not_found", "* directory_not_empty", "* not_a_directory")
def test_a_tree_is_removed(tree: Zone, platform: Platform) -> None:
    """A full directory is removed only with all below it, in one event; an empty one at once (platform.md)."""
    tree.write("/b/large", b"x" * MIB)
    with platform.unchanged():
        denied(tree, -32006, "directory_not_empty", "rmdir", path="/b")
        denied(tree, -32000, "not_found", "rmdir", path="/nowhere", recursive=True)
        denied(tree, -32006, "not_a_directory", "rmdir", path="/a", recursive=True)
    assert tree.rpc("rmdir", path="/empty") == {"deleted": True, "files_deleted": 0}
    assert tree.rpc("rmdir", path="/b", recursive=True) == {"deleted": True, "files_deleted": 4}
    assert [path for path, _ in names(tree, "/")] == ["/a", "/b-c", "/b0", "/g", "/g-h", "/\u00e9"]
    assert [(event["type"], event["path"]) for event in tree.log()[-2:]] == [("rmdir", "/empty"), ("rmdir", "/b")]
    platform.adds_up(tree.zone_id)


@case("trees/007", "renamePath too_large", "removeDirectory too_large", "listDirectory result")
def test_a_tree_of_too_many_files(zone: Zone, platform: Platform) -> None:
    """A tree of more than 10,000 files is renamed and removed in parts, not at once (platform.md)."""
    platform.write(MANY, zone=zone.zone_id, etag=OF_NOTHING, count=10_001)
    platform.write("update zones set files = 10001 where zone_id = %(zone)s", zone=zone.zone_id)
    with platform.system.db.unchanged():
        denied(zone, -32005, "too_large", "rename", old_path="/many", new_path="/more")
        denied(zone, -32005, "too_large", "rmdir", path="/many", recursive=True)
    assert len(zone.rpc("list", path="/many")["entries"]) == 1000
    zone.rpc("delete", path="/many/000001")
    assert zone.rpc("rmdir", path="/many", recursive=True)["files_deleted"] == 10_000
    platform.adds_up(zone.zone_id)


def planned_for_few(platform: Platform, zone: Zone) -> None:
    """Each connection has its plan of a list, made when the table was small."""
    for path in TREE:
        zone.write(path, b"")
    platform.write("analyze files")
    for _ in range(100):
        zone.rpc("list")


def known_of_others(platform: Platform, _zone: Zone) -> None:
    """Statistics know of other zones, whose long paths make the index of paths look dear."""
    platform.write(LONG, zones=[platform.zone().zone_id for _ in range(20)], etag=OF_NOTHING)
    platform.write("analyze files")


@case("trees/008", "listDirectory result")
@pytest.mark.parametrize("before", [planned_for_few, known_of_others])
def test_a_zone_that_has_just_grown_is_listed(
    before: Callable[[Platform, Zone], None], fresh_backend: FreshBackend
) -> None:
    """A list reads entries in order, also where nothing is known yet of the zone's 10,000 files (platform.md)."""
    platform = Platform(fresh_backend())
    zone = platform.zone()
    before(platform, zone)
    platform.write(MANY, zone=zone.zone_id, etag=OF_NOTHING, count=10_001)
    assert len(zone.rpc("list", path="/many")["entries"]) == 1000
