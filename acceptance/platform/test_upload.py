"""The rows `upload` of seed 004: what arrives in pieces is one file, and goes on where it was cut."""

import os
import random
import signal
from collections import Counter
from functools import partial
from hashlib import sha256

import pytest

from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.match import refused
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import both, race, web_processes
from harness.platform.uploads import Upload, begin
from harness.platform.zone import Zone
from harness.waiting import eventually

pytestmark = [pytest.mark.auto, pytest.mark.upload]

PIECES = (1, 65_537, 300_003)
CUT, WHOLE = 100_003, 250_007


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def is_the_file(zone: Zone, path: str, wanted: bytes) -> None:
    assert sha256(zone.read(path)).hexdigest() == sha256(wanted).hexdigest()
    [entry] = [one for one in zone.entries() if one["path"] == path]
    assert (entry["type"], entry["size"]) == ("file", len(wanted))


@case("upload/001", "createUpload 201", "appendToUpload 204", "getUpload 200", "readFile result")
def test_pieces_are_assembled(zone: Zone, platform: Platform, system: System) -> None:
    """Three odd pieces are one file: its bytes, its event and its quota are those of a file that is written (004)."""
    wanted = content(sum(PIECES))
    zone.write("/in/place.bin", "of before")
    agent = platform.agent(zone.zone_id, "worker-7")
    upload = begin(agent, "/in/place.bin", len(wanted))
    system.logs.wait("platform.upload.created", zone_id=zone.zone_id, upload_id=upload.id, length=len(wanted))
    offset = 0
    for size in PIECES:
        assert zone.read("/in/place.bin") == b"of before"
        assert zone.usage()["max_uploads_open"] == 1
        offset = upload.appended(wanted[offset : offset + size], offset)
    is_the_file(zone, "/in/place.bin", wanted)
    system.logs.wait("platform.upload.finished", zone_id=zone.zone_id, upload_id=upload.id, size=len(wanted))
    events = [(event["type"], event["path"], event["agent_id"]) for event in zone.log()[1:]]
    assert events == [
        ("write", "/in/place.bin", None),
        ("upload.created", "/in/place.bin", "worker-7"),
        ("write", "/in/place.bin", "worker-7"),
    ]
    usage = zone.usage()
    assert (usage["max_storage_bytes"], usage["max_files"], usage["max_uploads_open"]) == (len(wanted), 1, 0)
    assert platform.reserved(zone.zone_id) == 0
    platform.adds_up(zone.zone_id)
    platform.loses_nothing(zone.zone_id)
    shown = upload.look().headers
    assert shown["upload-offset"] == shown["upload-length"] == str(len(wanted))


@case("upload/002", "appendToUpload 204", "appendToUpload 409", "getUpload 200", "readFile result")
def test_an_upload_goes_on_where_it_was_cut(two_workers: System, platform_of_two: Platform) -> None:
    """What had arrived when the link was cut is kept to the byte; it goes on at any worker, at one place once (004)."""
    platform, wanted = platform_of_two, content(WHOLE)
    zone = platform.zone()
    upload = begin(zone, "/cut.bin", WHOLE)
    base_url = two_workers.target.base_url
    with both(two_workers):
        offset = 0
        for arrived in (CUT, 1, 70_001):
            sent = wanted[offset : offset + arrived]
            with upload.sending(base_url, sent, offset, WHOLE - offset):
                pass
            offset += arrived
            eventually(partial(is_at, upload, offset), within_s=5.0)
            platform.loses_nothing(zone.zone_id)
        refused(upload.append(wanted[CUT:], CUT), 409, "upload_offset_mismatch")
    rest = wanted[offset:]
    middle = len(rest) // 2
    answers = race(two_workers, [partial(upload.append, rest[:middle], offset)] * 2)
    assert Counter(answer.status for answer in answers) == {204: 1, 409: 1}
    with both(two_workers):
        assert [upload.offset, upload.offset] == [offset + middle] * 2
        upload.appended(rest[middle:], offset + middle)
        is_the_file(zone, "/cut.bin", wanted)
    assert [event["type"] for event in zone.log()] == ["zone.created", "upload.created", "write"]
    platform.adds_up(zone.zone_id)


def is_at(upload: Upload, offset: int) -> bool:
    found = upload.offset
    assert found == offset, f"at {found}, expected {offset}"
    return True


@case("upload/003", "appendToUpload 204", "getUpload 200", slow="kills processes")
def test_an_upload_survives_kill_9(fresh_backend: FreshBackend) -> None:
    """kill -9 of the workers in the middle of a request: what was acknowledged is there, and it goes on (004)."""
    system: System = fresh_backend(workers=2)
    platform, wanted = Platform(system), content(10 * WHOLE)
    zone = platform.zone()
    upload, offset = begin(zone, "/killed.bin", len(wanted)), 0
    for _ in range(3):
        offset = upload.appended(wanted[offset : offset + WHOLE], offset)
        system.check_log()  # an access line is written after its answer
        holder = platform.holder(upload.id)
        with upload.sending(system.target.base_url, wanted[offset : offset + CUT], offset, len(wanted) - offset):
            platform.held(upload.id, holder)  # else the next process takes the request out of the backlog
            before = web_processes(system)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not set(before) & set(web_processes(system)), within_s=10.0)  # noqa: B023
        eventually(lambda: system.api.request("GET", "/readyz").status == 200, within_s=10.0)
        system.api.reconnect()
        found = upload.offset
        assert offset <= found <= offset + CUT
        offset = found
    upload.appended(wanted[offset:], offset)
    is_the_file(zone, "/killed.bin", wanted)
    platform.adds_up(zone.zone_id)
