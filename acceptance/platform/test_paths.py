"""Paths of every hostile kind: each is refused by every method and changes nothing, or is a name like another."""

from typing import Any

import pytest

from acceptance.platform.zones import Platform, denied
from acceptance.suite.case import case
from harness.platform.zone import Zone

SEGMENT_BYTES = 255
NFC, NFD = "/caf\u00e9", "/cafe\u0301"
HOSTILE = {
    "empty": "",
    "not absolute": "ab/c",
    "one dot": "/a/./b",
    "two dots": "/a/../b",
    "above the root": "/../../etc/passwd",
    "two dots at the end": "/a/..",
    "two slashes": "//a",
    "two slashes inside": "/a//b",
    "a slash at the end": "/a/",
    "NUL": "/a\0b",
    "a line end": "/a\nb",
    "a tabulator": "/a\tb",
    "DEL": "/a\x7fb",
    "a C1 control": "/a\x85b",
    "decomposed": NFD,
    "a Hangul syllable in parts": "/\u1112\u1161\u11ab",
    "the Angstrom sign": "/\u212b",
    "a segment of 256 bytes": "/" + "a" * (SEGMENT_BYTES + 1),
    "a segment of 256 bytes in fewer letters": "/" + "\u00e9" * 128,
    "1,025 bytes": "/aaa" * 256 + "a",
    "1,026 bytes in fewer letters": "/\u00e9" * 342,
    "5,000 segments": "/a" * 5_000,
    "60,000 letters": "/" + "a" * 60_000,
}
UNUSUAL = {
    "escapes of dots": "/%2e%2e/%2e",
    "escapes of other things": "/%00%2f%zz/%",
    "wildcards": "/%_*?[a-z]",
    "a wildcard alone": "/%",
    "quotes": "/'\"`$(x);--",
    "backslashes": "/a\\b/..\\c",
    "three dots": "/.../..a/a..",
    "spaces": "/ / a / ",
    "emoji": "/\U0001f600/\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "composed": NFC,
    "right to left": "/\u05d0\u202e\u05d1",
    "a zone's path": "/zones/root/secret",
    "a segment of 255 bytes": "/" + "a" * SEGMENT_BYTES,
    "1,024 bytes": "/aaa" * 256,
    "512 segments": "/a" * 512,
}


def calls(path: str) -> list[tuple[str, dict[str, Any]]]:
    """Each method with this path, wherever it takes one."""
    named = [(method, {"path": path}) for method in ("read", "delete", "list", "exists", "mkdir", "rmdir")]
    return [
        *named,
        ("write", {"path": path, "content": "text"}),
        ("mkdir", {"path": path, "parents": True}),
        ("rmdir", {"path": path, "recursive": True}),
        ("rename", {"old_path": path, "new_path": "/new"}),
        ("rename", {"old_path": "/a", "new_path": path}),
    ]


@case("paths/001", "* path_invalid")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_path_is_refused(name: str, zone: Zone, platform: Platform) -> None:
    """A path that is not absolute, canonical and short is refused by each method, without a trace (issue 16)."""
    zone.write("/a", "text")
    with platform.unchanged():
        for method, params in calls(HOSTILE[name]):
            denied(zone, -32002, "path_invalid", method, **params)


@case("paths/002", "writeFile result", "readFile result", "renamePath result", "deleteFile result")
def test_an_unusual_path_is_a_name_like_another(zone: Zone, platform: Platform) -> None:
    """What is canonical is a name, letter by letter: no escape is decoded, no wildcard matches (platform.md)."""
    for name, path in UNUSUAL.items():
        zone.write(path, name)
    assert [path for path in zone.paths() if path in UNUSUAL.values()] == sorted(
        UNUSUAL.values(), key=lambda path: path.encode()
    )
    for number, (name, path) in enumerate(UNUSUAL.items()):
        assert zone.read(path) == name.encode()
        assert zone.rpc("rename", old_path=path, new_path=f"/{number}.txt")["renamed"] is True
        assert zone.read(f"/{number}.txt") == name.encode()
        zone.rpc("rename", old_path=f"/{number}.txt", new_path=path)
    prefix = [event["path"] for event in zone.log(path_prefix="/%_*", operation_type="write")]
    assert prefix == [UNUSUAL["wildcards"]]
    zone.write("/_/a", "text")
    zone.rpc("mkdir", path="/_/in")  # `_` stands for one letter in a pattern, as in that of the file `/%`
    zone.rpc("rmdir", path="/_", recursive=True)
    for path in UNUSUAL.values():
        zone.rpc("delete", path=path)
    assert zone.paths() == []
    platform.adds_up(zone.zone_id)


@case("paths/003", "* path_invalid")
def test_the_root_is_a_directory_that_stays(zone: Zone, platform: Platform) -> None:
    """The root is listed and is there; it is no file, and is neither removed nor moved (platform.md)."""
    zone.write("/a", "text")
    with platform.unchanged():
        assert zone.rpc("exists", path="/") is True
        for recursive in (False, True):
            denied(zone, -32002, "path_invalid", "rmdir", path="/", recursive=recursive)
        for method, params in (
            ("write", {"path": "/", "content": "text"}),
            ("delete", {"path": "/"}),
            ("mkdir", {"path": "/", "parents": True}),
            ("rename", {"old_path": "/", "new_path": "/b"}),
            ("rename", {"old_path": "/a", "new_path": "/"}),
        ):
            denied(zone, -32002, "path_invalid", method, **params)
        denied(zone, -32006, "is_a_directory", "read", path="/")
    assert zone.paths() == ["/a"]
