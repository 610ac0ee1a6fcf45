"""Builds that are weapons: archives that would fill memory or disk, and names that would leave the storage.

Does not test good uploads: test_apk_builds.py does.
"""

import io
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from acceptance.fleet.apks import new_package, upload
from acceptance.suite.case import case
from acceptance.suite.environments import Stacks
from acceptance.system.match import accepted, refused
from acceptance.system.system import FreshBackend, System
from harness.devices.apk import MEDIA_TYPE, apk

END = struct.Struct("<4s4H2LH")
MEMORY_BYTES = 64_000_000  # what a process may grow by over an upload, whatever it unpacks to


def zipped(*entries: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return file.getvalue()


def with_end(archive: bytes, **fields: int) -> bytes:
    """The archive with other figures in its end record."""
    names = ("magic", "disk", "first_disk", "on_disk", "entries", "length", "offset", "comment")
    end = dict(zip(names, END.unpack(archive[-END.size :]), strict=True)) | fields
    return archive[: -END.size] + END.pack(*end.values())


def many_entries(count: int) -> bytes:
    """A central directory with so many entries of no content, without a manifest."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0, 0, 0, 0) + b"x" * 200
    return entry * count + END.pack(b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(entry) * count, 0, 0)


def overlapping(count: int) -> bytes:
    """A manifest's local header that a thousand entries share, each of which says it is a gigabyte."""
    good = zipped(("classes.dex", bytes(1_000_000)))
    size, offset = END.unpack(good[-END.size :])[5:7]
    entry = good[offset : offset + size]
    return good[:offset] + entry * count + END.pack(b"PK\x05\x06", 0, 0, count, count, size * count, offset, 0)


GOOD = apk(500)
NO_APK: dict[str, Callable[[], bytes]] = {
    "42 in 42": lambda: zipped(("a.zip", zipped(("b.zip", zipped(("c", bytes(20_000_000))))))),
    "100,000 entries": lambda: many_entries(100_000),
    "overlapping entries": lambda: overlapping(1000),
    "a directory of 4 GiB": lambda: with_end(GOOD, length=2**32 - 2),
    "a directory behind the end": lambda: with_end(GOOD, offset=2**31),
    "zip64 in the end record": lambda: with_end(GOOD, entries=0xFFFF, length=0xFFFFFFFF, offset=0xFFFFFFFF),
    "a zip64 locator that lies": lambda: (
        GOOD[: -END.size]
        + struct.pack("<4sLQL", b"PK\x06\x07", 0, 2**63, 1)
        + END.pack(b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    ),
    "a comment that is not there": lambda: with_end(GOOD, comment=65_535),
    "cut in the middle": lambda: GOOD[: len(GOOD) // 2],
    "cut before its end": lambda: GOOD[:-1],
    "an end record alone": lambda: END.pack(b"PK\x05\x06", 0, 0, 0, 0, 0, 0, 0),
    "end records only": lambda: END.pack(b"PK\x05\x06", 0, 0, 1, 1, 2**31, 2**31, 0) * 3000,
    "a manifest in a folder": lambda: zipped(("../AndroidManifest.xml", b"x"), ("/AndroidManifest.xml", b"x")),
}


def files_of(system: System) -> set[Path]:
    """All that lies in the storage and in the temporary folder, which are of this case alone."""
    folders = [Path(system.running.env[name]) for name in ("NEXMDM_STORAGE_URL", "TMPDIR")]
    return {path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".db"}


def memory(system: System) -> int:
    """Bytes that the backend's processes have held at most: what was unpacked and freed again counts too."""
    root = psutil.Process(system.running.backend.pid)
    told = [Path(f"/proc/{process.pid}/status").read_text(encoding="ascii") for process in [root, *root.children()]]
    return sum(int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0]) * 1024 for text in told)


@case("uploads/001", "uploadApkBuild 422")
def test_a_bomb_is_refused_and_leaves_nothing(fresh_backend: FreshBackend) -> None:
    """An archive that is none, or lies about its size, is a 422; memory stays, no row or file remains (security.md)."""
    system: System = fresh_backend()
    refused(upload(system.api, b"warm"), 422, "not_an_apk")
    before, kept = memory(system), files_of(system)
    for name, make in NO_APK.items():
        content = make()
        with system.unchanged():
            answer = upload(system.api, content)
        assert answer.status == 422, f"{name}: {answer.status}"
        refused(answer, 422, "not_an_apk")
        grown = memory(system) - before
        assert grown < MEMORY_BYTES + len(content), f"{name}: {grown} bytes"
        assert not system.logs.of(answer, "apk.upload")
    assert files_of(system) == kept


@case("uploads/002", "uploadApkBuild 201")
def test_a_bomb_that_is_an_apk_does_not_go_off(fresh_backend: FreshBackend) -> None:
    """A build that unpacks to a gigabyte is stored as the megabyte that it is: nothing is unpacked (security.md)."""
    system: System = fresh_backend()
    bomb = zipped(("AndroidManifest.xml", b"<manifest/>"), *((f"{n}", bytes(100_000_000)) for n in range(3)))
    refused(upload(system.api, b"warm"), 422, "not_an_apk")
    before = memory(system)
    answer = upload(system.api, bomb)
    assert accepted(answer, 201)["size_bytes"] == len(bomb)
    assert memory(system) - before < MEMORY_BYTES
    system.logs.expect(answer, "apk.upload", size_bytes=len(bomb))


@case("uploads/003", "uploadApkBuild 413")
def test_an_upload_beyond_the_limit_fills_neither_memory_nor_disk(fresh_backend: FreshBackend) -> None:
    """A chunked body beyond the limit is a 413 as soon as it is; memory stays and no file remains (security.md)."""
    system: System = fresh_backend(env={"NEXMDM_APK_MAX_BYTES": "5000000"})
    refused(upload(system.api, b"warm"), 422, "not_an_apk")
    before, kept = memory(system), files_of(system)
    path = f"/v1/apk/builds?package_name={new_package()}&version_code=1&version_name=1.0.0"
    headers = [("X-Admin", system.target.admin_key), ("Content-Type", MEDIA_TYPE)]
    pieces: Any = iter([bytes(1_000_000)] * 80)  # httpx sends an iterator in chunks
    with system.unchanged():
        answer = system.api.transport.send("POST", path, headers=headers, content=pieces)
    refused(system.api.take("POST", path, answer), 413, "payload_too_large")
    assert memory(system) - before < MEMORY_BYTES
    assert files_of(system) == kept
    system.logs.expect(answer, "http.request", status=413)


@pytest.fixture
def own_files(stacks: Stacks) -> System:
    """A system of this run's own, shared: its files can be looked at."""
    return stacks.fresh() if stacks.given else stacks.shared()


WAYS_OUT = [
    "../../../../tmp/owned",
    "..\\..\\owned",
    "/tmp/owned",
    "com.example/../../owned",
    "com.example\x00.app",
    "com.example.\u2025/owned",
    "com.example.\uff0e\uff0e\uff0fowned",
    "file:///tmp/owned",
    "C:\\owned",
    "com.example.app/",
    "..",
    "~root.app",
]


@case("uploads/004", "* 422")
@pytest.mark.parametrize("name", WAYS_OUT, ids=repr)
def test_no_name_leads_out_of_the_storage(name: str, own_files: System) -> None:
    """A package, version or id that is a path is a 422, also escaped twice; no file is written (security.md)."""
    system, api = own_files, own_files.api
    kept = files_of(system)
    with system.unchanged():
        answers = [
            upload(api, package_name=name),
            upload(api, package_name=quote(name, safe="")),
            upload(api, version_name=name),
            upload(api, git_sha=name),
            upload(api, ci_run_id=name + "/"),
            upload(api, sha256=name),
            api.admin("GET", "/v1/apk/download-latest", params={"package_name": name}),
            api.admin("GET", "/v1/apk/builds", params={"package_name": name}),
        ]
    for answer in answers:
        refused(answer, 422, "validation_error")
    assert files_of(system) == kept


@case("uploads/005", "uploadApkBuild 201")
def test_what_a_caller_calls_a_file_names_none(own_files: System) -> None:
    """A file is named by its SHA-256, whatever headers and names come with it (security.md)."""
    system, content = own_files, apk(300)
    kept = files_of(system)
    headers = {
        "Content-Type": MEDIA_TYPE,
        "Content-Disposition": 'attachment; filename="../../owned.apk"',
        "X-File-Name": "../../owned",
        "Slug": "/tmp/owned",
        "Content-Location": "/tmp/owned",
    }
    params = {"package_name": new_package(), "version_code": "1", "version_name": "1.0.0"}
    answer = system.api.admin("POST", "/v1/apk/builds", content=content, headers=headers, params=params)
    build = accepted(answer, 201)
    assert [path.name for path in files_of(system) - kept] == [f"{build['sha256']}.apk"]
    system.logs.expect(answer, "apk.upload", sha256=build["sha256"])
