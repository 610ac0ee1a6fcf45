"""Files: what is written is read, at every border of the store; conditions, ranges, and content that is none."""

import hashlib
from collections import Counter
from functools import partial
from typing import Any

import pytest

from acceptance.platform.zones import IN_ROW_BYTES, KIB, MIB, PART_BYTES, Platform, denied
from acceptance.suite.case import case
from acceptance.system.system import System
from acceptance.system.web_workers import race
from harness.platform import rpc
from harness.platform.rpc import RpcError
from harness.platform.zone import RPC, Zone

PARTS = "select count(*) from file_parts p join files f using (zone_id, file_id) where zone_id = %s and path = %s"


def pattern(size: int) -> bytes:
    """Bytes of which no two stretches are alike, so that a wrong order shows."""
    return b"".join(hashlib.sha256(number.to_bytes(8)).digest() for number in range(-(-size // 32)))[:size]


def etag_of(content: bytes) -> str:
    digests = [
        hashlib.sha256(content[start : start + PART_BYTES]) for start in range(0, max(1, len(content)), PART_BYTES)
    ]
    if len(digests) == 1:
        return digests[0].hexdigest()
    return hashlib.sha256(b"".join(one.digest() for one in digests)).hexdigest() + f"-{len(digests)}"


@case("files/001", "writeFile result", "readFile result", "listDirectory result")
def test_what_is_written_is_read(zone: Zone, platform: Platform) -> None:
    """Text and bytes come back as the bytes that they are; each write tells size, ETag and version (platform.md)."""
    contents: list[bytes | str] = ["grüße \U0001f600\n", b"\x00\xff" * 100, "", b"plain"]
    moments: list[str] = []
    for version, content in enumerate(contents, 1):
        raw = content.encode() if isinstance(content, str) else content
        told = zone.write("/docs/a.txt", content)
        assert told | {"modified_at": ""} == {
            "bytes_written": len(raw),
            "size": len(raw),
            "etag": etag_of(raw),
            "version": version,
            "modified_at": "",
        }
        moments.append(told["modified_at"])
        assert zone.read("/docs/a.txt") == raw
        [entry] = zone.entries("/docs")
        assert entry == {"path": "/docs/a.txt", "type": "file"} | {
            name: told[name] for name in ("size", "etag", "modified_at")
        }
    assert moments == sorted(set(moments))
    platform.adds_up(zone.zone_id)


@case("files/002", "writeFile result", "readFile too_large", "readFile result")
@pytest.mark.parametrize("size", [IN_ROW_BYTES, IN_ROW_BYTES + 1, PART_BYTES, PART_BYTES + 1])
def test_a_file_at_a_border_of_the_store(size: int, zone: Zone, platform: Platform) -> None:
    """Up to 64 KiB lie in the row, more in parts of 8 MiB; beyond these a read needs a range (platform.md)."""
    content = pattern(size)
    told = zone.write("/a.bin", content)
    assert (told["size"], told["etag"]) == (size, etag_of(content))
    objects = platform.objects(platform.folder(zone.zone_id)) if size > IN_ROW_BYTES else []
    parts = -(-size // PART_BYTES) if size > IN_ROW_BYTES else 0
    assert len(objects) == parts == platform.system.db.value(PARTS, zone.zone_id, "/a.bin")
    stored = "select content is not null from files where zone_id = %s and path = '/a.bin'"
    assert platform.system.db.value(stored, zone.zone_id) is (size <= IN_ROW_BYTES)
    if size > PART_BYTES:
        denied(zone, -32005, "too_large", "read", path="/a.bin")
        assert zone.read_range("/a.bin", PART_BYTES - 3, 4) == content[-4:]
        denied(zone, -32005, "too_large", "read", path="/a.bin", offset=0, length=size)
        assert zone.read_range("/a.bin", 1, PART_BYTES) == content[1:]
    else:
        assert zone.read("/a.bin") == content
    assert zone.usage()["max_storage_bytes"] == size


@case("files/003", "readFile result")
@pytest.mark.parametrize("size", [1000, IN_ROW_BYTES + 1000], ids=["in the row", "in the store"])
def test_a_range_is_read(size: int, zone: Zone) -> None:
    """A range has the bytes from its offset on, as many as there are; behind the end there are none (platform.md)."""
    content = pattern(size)
    told = zone.write("/a.bin", content)
    for named, wanted in (
        ({"offset": 0, "length": 1}, content[:1]),
        ({"offset": size - 1, "length": 1}, content[-1:]),
        ({"offset": 500}, content[500:]),
        ({"length": 500}, content[:500]),
        ({"offset": 10, "length": size * 2}, content[10:]),
        ({"offset": 10, "length": 0}, b""),
        ({"offset": size, "length": 10}, b""),
        ({"offset": 2**53, "length": 10}, b""),
    ):
        part = zone.rpc("read", path="/a.bin", **named)
        assert rpc.unwrapped(part.pop("content")) == wanted, named
        assert part == {"offset": min(named.get("offset", 0), size), "size": size, "etag": told["etag"]}


@case("files/004", "writeFile result", "writeFile etag_mismatch", "writeFile exists")
def test_a_conditional_write(zone: Zone, platform: Platform) -> None:
    """A write with an ETag is taken if the file is still that one, with * if there is none; else nothing (api)."""
    first = zone.write("/a", "first", if_none_match="*")
    with platform.unchanged():
        denied(zone, -32001, "exists", "write", path="/a", content="x", if_none_match="*")
        denied(zone, -32006, "etag_mismatch", "write", path="/a", content="x", if_match=etag_of(b"x"))
        denied(zone, -32006, "etag_mismatch", "write", path="/b", content="x", if_match=first["etag"])
        denied(zone, -32006, "etag_mismatch", "write", path="/a", content="x", if_none_match=first["etag"])
    second = zone.write("/a", "second", if_match=first["etag"])
    assert second["version"] == first["version"] + 1
    with platform.unchanged():
        denied(zone, -32006, "etag_mismatch", "write", path="/a", content="x", if_match=first["etag"])
    assert zone.read("/a") == b"second"


@case("files/005", "writeFile result", "writeFile etag_mismatch", "writeFile exists")
@pytest.mark.parametrize("there", [True, False], ids=["if_match", "if_none_match"])
def test_of_conditional_writers_one_wins(there: bool, two_workers: System, platform_of_two: Platform) -> None:
    """Of 20 writers with one condition, through two workers, one is let in, and its content stays (platform.md)."""
    zone = platform_of_two.zone()
    condition = {"if_match": zone.write("/a", "first")["etag"]} if there else {"if_none_match": "*"}

    def write(number: int) -> tuple[str, int]:
        try:
            zone.write("/a", str(number), **condition)
        except RpcError as error:
            return error.kind, number
        return "taken", number

    outcomes = race(two_workers, [partial(write, number) for number in range(20)])
    assert Counter(kind for kind, _ in outcomes) == {"taken": 1, "etag_mismatch" if there else "exists": 19}
    assert zone.read("/a") == str(dict(outcomes)["taken"]).encode()
    assert [event["type"] for event in zone.log()[1:]] == ["write"] * (1 + there)
    platform_of_two.adds_up(zone.zone_id)


@case("files/006", "deleteFile result", "* not_found", "* is_a_directory")
def test_a_file_is_deleted(zone: Zone, platform: Platform) -> None:
    """A deleted file is gone with what it used; what is no file is not deleted and not read (platform.md)."""
    zone.write("/a/b", "text")
    zone.rpc("mkdir", path="/c")
    with platform.unchanged():
        for directory in ("/a", "/c"):
            denied(zone, -32006, "is_a_directory", "delete", path=directory)
            denied(zone, -32006, "is_a_directory", "read", path=directory)
        denied(zone, -32000, "not_found", "delete", path="/d")
        denied(zone, -32000, "not_found", "read", path="/d")
    assert zone.rpc("delete", path="/a/b") == {"deleted": True}
    with platform.unchanged():
        denied(zone, -32000, "not_found", "delete", path="/a/b")
        denied(zone, -32000, "not_found", "read", path="/a/b")
    assert zone.usage()["max_storage_bytes"] == 0
    assert zone.write("/a/b", "again")["version"] == 1
    platform.adds_up(zone.zone_id)


@case("files/007", "pathExists result")
def test_what_exists(zone: Zone) -> None:
    """Files, made directories and those that a file implies exist, and nothing else does (platform.md)."""
    zone.write("/a/b/c", "text")
    zone.rpc("mkdir", path="/d")
    there = {
        path: zone.rpc("exists", path=path) for path in ("/", "/a", "/a/b", "/a/b/c", "/d", "/a/b/c/d", "/e", "/A")
    }
    assert [path for path, exists in there.items() if exists] == ["/", "/a", "/a/b", "/a/b/c", "/d"]
    zone.rpc("delete", path="/a/b/c")
    assert [zone.rpc("exists", path=path) for path in ("/a/b/c", "/a", "/d")] == [False, False, True]


NO_CONTENT: dict[str, Any] = {
    "no padding": {"__type__": "bytes", "data": "YQ"},
    "one letter": {"__type__": "bytes", "data": "A"},
    "padding alone": {"__type__": "bytes", "data": "===="},
    "a line end": {"__type__": "bytes", "data": "YQ==\n"},
    "a space": {"__type__": "bytes", "data": "YQ = ="},
    "letters of URLs": {"__type__": "bytes", "data": "_-8="},
    "letters of others": {"__type__": "bytes", "data": "ßßßß"},
    "a number": {"__type__": "bytes", "data": 1},
    "no data": {"__type__": "bytes"},
    "another type": {"__type__": "text", "data": "YQ=="},
    "no type": {"data": "YQ=="},
    "more than that": {"__type__": "bytes", "data": "YQ==", "name": "a"},
    "null": None,
    "a list": ["YQ=="],
}


@case("files/008", "writeFile content_invalid", "writeFile invalid_params")
@pytest.mark.parametrize("name", NO_CONTENT)
def test_content_that_is_none(name: str, zone: Zone, platform: Platform) -> None:
    """Base64 that is none, and what is neither text nor bytes, is refused and leaves nothing (issue 16)."""
    body = rpc.request("write", {"path": "/a", "content": NO_CONTENT[name]})
    with platform.unchanged(), pytest.raises(RpcError) as caught:
        rpc.answered(zone.request("POST", f"{RPC}/write", json=body))
    error = caught.value
    assert (error.code, error.kind) in {(-32005, "content_invalid"), (-32602, "invalid_params")}, error
    is_base64 = isinstance(NO_CONTENT[name], dict) and isinstance(NO_CONTENT[name].get("data"), str)
    assert (error.code == -32005) or not is_base64 or name in ("another type", "no type", "more than that"), error


@case("files/009", "* not_a_directory", "writeFile is_a_directory")
def test_a_file_is_no_directory(zone: Zone, platform: Platform) -> None:
    """Nothing lies below a file, and no file takes the place of a directory, made or implied (issue 16)."""
    zone.write("/file", "text")
    zone.write("/full/file", "text")
    zone.rpc("mkdir", path="/empty")
    with platform.unchanged():
        for below in ("/file/a", "/file/a/b"):
            denied(zone, -32006, "not_a_directory", "write", path=below, content="text")
            denied(zone, -32006, "not_a_directory", "mkdir", path=below, parents=True)
            denied(zone, -32006, "not_a_directory", "rename", old_path="/full/file", new_path=below)
            denied(zone, -32000, "not_found", "read", path=below)
            denied(zone, -32000, "not_found", "delete", path=below)
        denied(zone, -32006, "not_a_directory", "mkdir", path="/file", parents=True)
        denied(zone, -32006, "not_a_directory", "list", path="/file")
        denied(zone, -32006, "not_a_directory", "rmdir", path="/file")
        for directory in ("/full", "/empty"):
            denied(zone, -32006, "is_a_directory", "write", path=directory, content="text")
        assert not zone.rpc("exists", path="/file/a")


@case("files/010", "writeFile result")
def test_a_file_and_one_below_it_race(two_workers: System, platform_of_two: Platform) -> None:
    """Of writes of a path and below it, through two workers, those of one kind win: never both (platform.md)."""
    zone = platform_of_two.zone()
    for number in range(5):
        paths = [f"/{number}", f"/{number}/a"] * 4
        answers = race(two_workers, [partial(zone.call, "write", path=path, content="x") for path in paths])
        taken = {path for path, answer in zip(paths, answers, strict=True) if "result" in answer.json()}
        assert len(taken) == 1
        kinds = {answer.json()["error"]["data"]["code"] for answer in answers if "error" in answer.json()}
        assert kinds == {"is_a_directory" if taken == {paths[1]} else "not_a_directory"}
        assert [path for path in zone.paths() if path.endswith(("/a", f"/{number}"))][-1] == taken.pop()
    platform_of_two.adds_up(zone.zone_id)


@case("files/011", "makeDirectory result", "makeDirectory not_found", "makeDirectory exists")
def test_directories_are_made(zone: Zone, platform: Platform) -> None:
    """A directory is made below one that is there; with parents all are, and it may be there already (platform.md)."""
    with platform.unchanged():
        denied(zone, -32000, "not_found", "mkdir", path="/a/b")
    assert zone.rpc("mkdir", path="/a") == {"created": True}
    assert zone.rpc("mkdir", path="/a/b/c", parents=True) == {"created": True}
    with platform.unchanged():
        denied(zone, -32001, "exists", "mkdir", path="/a")
        assert zone.rpc("mkdir", path="/a/b/c", parents=True) == {"created": False}
    zone.write("/implied/a", "text")
    with platform.unchanged():
        for there in ("/implied", "/implied/a"):
            denied(zone, -32001, "exists", "mkdir", path=there)
    assert zone.rpc("mkdir", path="/implied/b") == {"created": True}
    assert zone.rpc("exists", path="/a/b/c") is True
    platform.adds_up(zone.zone_id)


@case("files/012", "writeFile result")
def test_what_is_replaced_is_given_up(zone: Zone, platform: Platform) -> None:
    """A replaced file has none of the parts of the one before, whichever of the two lay in the row (platform.md)."""
    for size in (KIB, MIB, 2 * MIB, KIB):
        zone.write("/a", pattern(size))
        assert zone.usage() == zone.usage() | {"max_storage_bytes": size, "max_files": 1}
        assert platform.system.db.value(PARTS, zone.zone_id, "/a") == (size > IN_ROW_BYTES)
        assert zone.read("/a") == pattern(size)
