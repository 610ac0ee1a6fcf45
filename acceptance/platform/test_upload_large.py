"""An upload larger than memory may grow: its link is cut again and again, and two workers take turns."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from acceptance.platform.test_upload import is_at
from acceptance.platform.zones import MIB, PART_BYTES, Platform
from acceptance.suite.case import case
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import only, web_processes
from harness.platform.uploads import Upload, begin
from harness.waiting import eventually

CUTS = 20
GROWTH_BYTES = 64 * MIB
CUT_WITHIN_S = 120.0
_NOISE = Random(4).randbytes(MIB - 8)


def content(start: int, end: int) -> Iterator[bytes]:
    """The bytes from start to end, in pieces of a MiB at most, none of which is like another."""
    while start < end:
        number, begun = divmod(start, MIB)
        piece = (number.to_bytes(8) + _NOISE)[begun : begun + end - start]
        yield piece
        start += len(piece)


@pytest.fixture
def size(pytestconfig: pytest.Config) -> int:
    """How large the upload is."""
    return int(pytestconfig.option.upload_mib) * MIB


@case("upload/004", "getUpload 200", "readFile result", slow="waits for the disk")
def test_a_large_upload_that_is_cut_often(size: int, fresh_backend: FreshBackend) -> None:
    """Cut 20 times, at two workers in turn, a large upload is whole; no process grows by 64 MiB (issue 17)."""
    system: System = fresh_backend(workers=2)
    platform = Platform(system)
    zone = platform.zone()
    upload, workers, offset = begin(zone, "/large.bin", size), web_processes(system), 0
    before = {pid: forget_peak(pid) for pid in workers}
    for number in range(1, CUTS + 1):
        reached = size * number // (2 * CUTS) + 1  # the last request has half of it
        with only(system, workers[number % 2]):
            with sending(upload, system, offset, reached, size):
                pass
            eventually(partial(is_at, upload, reached), within_s=CUT_WITHIN_S)
        offset = reached
    with sending(upload, system, offset, size, size) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 204 ")
    grown = {pid: peak(pid) - before[pid] for pid in workers}
    assert max(grown.values()) < GROWTH_BYTES, {pid: f"{by / MIB:.0f} MiB" for pid, by in grown.items()}
    read = sha256()
    for start in range(0, size, PART_BYTES):
        read.update(zone.read_range("/large.bin", start, PART_BYTES))
    sent = sha256()
    for piece in content(0, size):
        sent.update(piece)
    assert read.hexdigest() == sent.hexdigest()
    assert [event["type"] for event in zone.log()] == ["zone.created", "upload.created", "write"]
    platform.adds_up(zone.zone_id)


@contextmanager
def sending(upload: Upload, system: System, start: int, end: int, size: int) -> Iterator[socket.socket]:
    """A request for all that is left, of which the bytes up to `end` are sent; after the block the link is cut."""
    with upload.sending(system.target.base_url, b"", start, size - start) as connection:
        connection.settimeout(CUT_WITHIN_S)
        for piece in content(start, end):
            connection.sendall(piece)
        yield connection


def forget_peak(pid: int) -> int:
    """Bytes of memory that the process has; from now on `peak` is of later times."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak(pid)


def peak(pid: int) -> int:
    """The most memory that the process has had."""
    [line] = [one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
