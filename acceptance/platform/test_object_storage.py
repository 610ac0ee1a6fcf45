"""Large contents in a bucket: whatever happens on the way to it, each object has a row, and an outage is told."""

import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from acceptance.platform.test_objects import UNPINNED
from acceptance.platform.test_zone_requests import refusal
from acceptance.platform.zones import MIB, PART_BYTES, Platform, denied
from acceptance.suite.case import case
from acceptance.suite.environments import Stacks
from acceptance.system.match import accepted, refused
from acceptance.system.s3 import BUCKET, Method, S3Server
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import kill, web_processes
from harness.platform.uploads import AS_CHUNK, begin, create, length, metadata
from harness.platform.zone import ZONES, Zone
from harness.waiting import eventually

SLOW = "an S3 server"
TIMEOUT_S = 2
LATE = {"delay_s": TIMEOUT_S + 1}
LOST_BUCKET = {"status": 404, "body": b"<Error><Code>NoSuchBucket</Code></Error>", "times": 0}
FAULTS: Mapping[str, dict[str, Any]] = {
    "cut before its end": {"drop": True, "times": 0},
    "cut before the answer": {"drop": True, "effect": True, "times": 0},
    "a fault of the store": {"status": 500, "times": 0},
    "a fault after its effect": {"status": 500, "effect": True, "times": 0},
    "busy": {"status": 503, "times": 0},
    "not allowed": {"status": 403, "times": 0},
    "no bucket": LOST_BUCKET,
    "too late": {**LATE, "times": 1},
}
ROWS = "select object_id from objects where zone_id = %s"


@pytest.fixture(scope="session")
def on_s3(stacks: Stacks) -> Platform:
    """The platform of a system whose objects are in a bucket, for which it has two seconds; it sweeps every 200 ms."""
    env = {"NEXMDM_PLATFORM_SWEEP_EVERY_S": "0.2", "NEXMDM_PLATFORM_STORAGE_TIMEOUT_S": str(TIMEOUT_S)}
    return Platform(stacks.fresh(s3=True, env=env))


def server(platform: Platform) -> S3Server:
    assert platform.system.s3 is not None
    return platform.system.s3


@contextmanager
def going_wrong(platform: Platform, method: Method, *answers: dict[str, Any]) -> Iterator[None]:
    """What these requests meet during the block."""
    control = server(platform).control
    control.script(method, *answers)
    try:
        yield
    finally:
        control.script(method)


def all_known(platform: Platform, zone_id: str) -> bool:
    """Each object has a row."""
    rows = {str(row["object_id"]) for row in platform.system.db.rows(ROWS, zone_id)}
    stored = {name.rpartition("/")[2] for name in platform.folder(zone_id).names()}
    assert stored <= rows, f"without a row: {stored - rows}"
    return stored == rows


def settle(platform: Platform, zone: Zone, objects: int) -> None:
    """What was given up is swept: so many rows are left, and as many objects."""
    platform.write(UNPINNED, zone=zone.zone_id)
    eventually(lambda: platform.rows(zone.zone_id)["objects"] == objects, within_s=5.0)
    assert all_known(platform, zone.zone_id)
    platform.adds_up(zone.zone_id)
    platform.loses_nothing(zone.zone_id)


@case("object-storage/001", "writeFile backend_unavailable", "writeFile result", slow=SLOW)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_put_that_is_cut(fault: dict[str, Any], on_s3: Platform) -> None:
    """A link that is cut at any step of a write leaves no object that no row knows, and no file (issue 17)."""
    zone = on_s3.zone()
    zone.write("/a", b"1" * MIB)
    with going_wrong(on_s3, "PUT", fault):
        answer = zone.call("write", path="/a", content="2" * MIB)
        assert refusal(answer) == (-32011, "backend_unavailable")
        on_s3.system.logs.expect(answer, "dependency.unavailable", dependency="objects", level="ERROR")
        assert answer.elapsed_ms < 1000 * (TIMEOUT_S + 1)
        all_known(on_s3, zone.zone_id)
    assert zone.read("/a") == b"1" * MIB
    assert on_s3.rows(zone.zone_id)["objects"] == 2, "what may still arrive keeps its row"
    if "delay_s" in fault:
        eventually(lambda: len(on_s3.folder(zone.zone_id).names()) == 2, within_s=5.0, what="what comes too late")
    settle(on_s3, zone, 1)
    zone.write("/a", "2" * MIB)
    assert zone.read("/a") == b"2" * MIB
    settle(on_s3, zone, 1)


@case("object-storage/002", "writeFile result", "readFile result", slow=SLOW)
def test_what_goes_wrong_once_is_tried_again(on_s3: Platform) -> None:
    """A store that fails once, or whose answer breaks off, is asked again: the client is not told (operations.md)."""
    zone = on_s3.zone()
    faults: list[dict[str, Any]] = [{"drop": True}, {"drop": True, "effect": True}, {"status": 500}, {"status": 503}]
    for number, fault in enumerate(faults):
        with going_wrong(on_s3, "PUT", fault):
            zone.write(f"/{number}", b"x" * MIB)
        with going_wrong(on_s3, "GET", fault):
            assert zone.read(f"/{number}") == b"x" * MIB
    with going_wrong(on_s3, "GET", {"cut": True}):
        assert zone.read("/0") == b"x" * MIB
    settle(on_s3, zone, 4)


@case("object-storage/003", "readFile backend_unavailable", slow=SLOW)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_read_that_is_cut(fault: dict[str, Any], on_s3: Platform) -> None:
    """What cannot be read is -32011 in bounded time, never a part of a file, never a file that is gone (issue 17)."""
    zone = on_s3.zone()
    zone.write("/a", b"1" * MIB)
    with going_wrong(on_s3, "GET", fault):
        answer = zone.call("read", path="/a")
        assert refusal(answer) == (-32011, "backend_unavailable")
        on_s3.system.logs.expect(answer, "dependency.unavailable", dependency="objects", level="ERROR")
        assert answer.elapsed_ms < 1000 * (TIMEOUT_S + 1)
    assert zone.read("/a") == b"1" * MIB


@case("object-storage/004", "deleteFile result", slow=SLOW)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_sweep_that_is_cut(fault: dict[str, Any], on_s3: Platform) -> None:
    """While objects cannot be deleted their rows stay; later both go (issue 17)."""
    zone = on_s3.zone()
    zone.write("/a", b"1" * MIB)
    with going_wrong(on_s3, "POST", fault):
        zone.rpc("delete", path="/a")
        on_s3.system.logs.wait("dependency.unavailable", dependency="objects", route="worker:sweeper")
        all_known(on_s3, zone.zone_id)
        assert on_s3.rows(zone.zone_id)["objects"] == 1
    eventually(lambda: "objects" not in on_s3.rows(zone.zone_id), within_s=10.0)
    assert on_s3.folder(zone.zone_id).names() == []


@case("object-storage/005", "appendToUpload 503", "createUpload 503", slow=SLOW)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_part_that_is_cut(fault: dict[str, Any], on_s3: Platform) -> None:
    """A part that cannot be stored is a 503, the offset stays, and the upload goes on when the store is back (tus)."""
    zone = on_s3.zone()
    upload = begin(zone, "/a", 2 * MIB)
    upload.appended(b"1" * MIB, 0)
    with going_wrong(on_s3, "PUT", {**fault, "times": 0}):
        refused(upload.append(b"2" * MIB, MIB), 503, "dependency_unavailable")
        refused(create(zone, length(6), metadata("/b"), AS_CHUNK, content=b"of the"), 503, "dependency_unavailable")
        assert upload.offset == MIB
        all_known(on_s3, zone.zone_id)
    assert on_s3.reserved(zone.zone_id) == 2 * MIB
    upload.appended(b"2" * MIB, MIB)
    assert zone.read("/a") == b"1" * MIB + b"2" * MIB
    settle(on_s3, zone, 2)


@case("object-storage/006", "deleteZone 202", "getZone 404", slow=SLOW)
def test_a_zone_ends_when_the_store_is_back(on_s3: Platform) -> None:
    """A zone whose objects cannot be deleted is not gone; when they can be, nothing of it is left (004)."""
    zone, other = on_s3.zone(), on_s3.zone()
    for each in (zone, other):
        each.write("/a", b"1" * MIB)
    folder = on_s3.folder(zone.zone_id)
    folder.add("of nobody")
    with on_s3.store.away():
        accepted(on_s3.admin("DELETE", f"{ZONES}/{zone.zone_id}"), 202)
        on_s3.system.logs.wait("dependency.unavailable", dependency="objects", route="worker:teardown")
        assert on_s3.rows(zone.zone_id)["objects"] == 1
    on_s3.gone(zone.zone_id)
    assert on_s3.rows(zone.zone_id) == {}
    assert not folder.exists()
    assert other.read("/a") == b"1" * MIB


@case("object-storage/007", slow="kills its backend")
def test_a_process_that_dies_while_it_stores(fresh_backend: FreshBackend) -> None:
    """kill -9 before the store has answered: what arrives after it has a row, which is swept (issue 17)."""
    platform = Platform(fresh_backend(s3=True, env={"NEXMDM_PLATFORM_SWEEP_EVERY_S": "0.2"}))
    zone = platform.zone()
    zone.write("/a", b"1" * MIB)
    with (
        platform.apart(zone) as lost,
        ThreadPoolExecutor(1) as pool,
        going_wrong(platform, "PUT", {"delay_s": 5.0, "times": 0}),
    ):
        writing = pool.submit(lost.call, "write", path="/b", content="2" * MIB)
        eventually(lambda: platform.rows(zone.zone_id)["objects"] == 2, within_s=4.0, what="a row before its object")
        [victim] = web_processes(platform.system)
        kill(platform.system, victim)
        assert writing.exception() is not None or writing.result().status == 0
        eventually(lambda: len(platform.folder(zone.zone_id).names()) == 2, within_s=10.0, what="what comes too late")
    eventually(lambda: zone.paths() == ["/a"], within_s=10.0)
    settle(platform, zone, 1)


@case("object-storage/008", "writeFile backend_unavailable", slow=SLOW)
def test_a_write_ends_before_its_pins(fresh_backend: FreshBackend) -> None:
    """Parts that take longer than half of their pin are given up: none arrives when its row is gone (platform.md)."""
    platform = Platform(fresh_backend(s3=True, env={"NEXMDM_PLATFORM_PIN_S": "10"}))
    zone = platform.zone()
    with going_wrong(platform, "PUT", {"delay_s": 3.0, "times": 0}):
        answer = zone.call("write", path="/a", content="x" * (PART_BYTES + 1))
    assert refusal(answer) == (-32011, "backend_unavailable")
    assert 5000 < answer.elapsed_ms < 8000
    all_known(platform, zone.zone_id)


@case("object-storage/009", "getReadiness 200", "writeFile backend_unavailable", slow=SLOW)
def test_a_store_that_is_not_there(fresh_backend: FreshBackend) -> None:
    """Without its store the service starts, and serves what is small; large contents are -32011 (operations.md)."""
    system: System = fresh_backend(s3=True, env={"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    platform = Platform(system)
    zone = platform.zone()
    accepted(system.api.request("GET", "/readyz"))
    zone.write("/small", "text")
    denied(zone, -32011, "backend_unavailable", "write", path="/large", content="x" * MIB)
    assert zone.paths() == ["/small"]


@case("object-storage/010", "readFile result", "appendToUpload 204", slow=SLOW)
def test_a_directory_moves_into_a_bucket(fresh_backend: FreshBackend, stacks: Stacks) -> None:
    """Objects are copied under the names that they have; files and uploads that have begun go on (operations.md)."""
    system: System = fresh_backend(s3=False)
    platform = Platform(system)
    zone = platform.zone()
    zone.write("/a", b"1" * MIB)
    upload = begin(zone, "/b", 2 * MIB)
    upload.appended(b"2" * MIB, 0)
    moved, prefix = stacks.s3_server(), f"moved/{zone.zone_id}"
    system.running.backend.stop()
    directory = Path(system.running.env["NEXMDM_PLATFORM_STORAGE_URL"])
    for path in (path for path in directory.rglob("*") if path.is_file()):
        moved.client.upload_file(str(path), BUCKET, f"{prefix}/{path.relative_to(directory)}")
    shutil.rmtree(directory)
    system.running.backend.restart(env=moved.env | {"NEXMDM_PLATFORM_STORAGE_URL": f"s3://{BUCKET}/{prefix}"})
    assert zone.read("/a") == b"1" * MIB
    upload.appended(b"3" * MIB, MIB)
    assert zone.read("/b") == b"2" * MIB + b"3" * MIB
    assert len(moved.keys(prefix)) == 3
