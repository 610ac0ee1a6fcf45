"""A log that cannot be written: its disk is full, its reader has died or reads nothing. It costs lines alone.

What is lost is counted, the lines that matter most are lost last, and the log goes on by itself. Does not ask how fast
lines are written: `nox -s bench` does.
"""

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import psutil
import pytest

from acceptance.suite.case import DISABLED, case
from acceptance.system.match import accepted, refused
from acceptance.system.system import Enrolled, FreshBackend, System
from acceptance.system.web_workers import frozen
from harness.chaos.small_disk import SmallDisk, SmallDiskError, mounted
from harness.http.client import Client, HttpxTransport
from harness.waiting import eventually

DISK_KIB: Final = 16
BUFFER_BYTES: Final = 65_536
SETTINGS: Final = {"NEXMDM_LOG_BUFFER_BYTES": str(BUFFER_BYTES)}
BULK: Final = 'nexmdm_log_lines_lost_total{kind="bulk"}'
PER_S: Final = 200
SENDERS: Final = 4
WITHIN_S: Final = 30.0
STOPPED_WITHIN_S: Final = 4.0  # what is left of the log has one second of it
GROWTH_BYTES: Final = 8 * 2**20  # of a process that serves, for all that it learns; its buffer is a hundredth of that
SPINNING: Final = 1000  # write(2) a second, of four processes that have nothing else to do
PIPE_BYTES: Final = 65_536
LINE_BYTES: Final = 200  # no line of a heartbeat is shorter


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    """A disk of 16 KiB for a log. Whoever writes to it has to be gone first: it stands before `fresh_backend`."""
    try:
        with mounted(DISK_KIB) as one:
            yield one
    except SmallDiskError as error:
        pytest.skip(f"{DISABLED}the right to mount a small disk ({error})")


class Heartbeats:
    """About 200 heartbeats a second until the end of the block. Each was answered with 200, or the block fails."""

    def __init__(self, system: System) -> None:
        self._target = system.target
        self._devices = [system.device() for _ in range(SENDERS)]
        self._over = threading.Event()
        self.request_ids: list[str] = []

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(SENDERS)
        self._sending = [self._pool.submit(self._send, device) for device in self._devices]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()
        for one in self._sending:
            one.result()

    def _send(self, device: Enrolled) -> None:
        transport = HttpxTransport(self._target.base_url)
        client = Client(transport, keep=1)
        begun = time.monotonic()
        try:
            for number in itertools.count():
                if self._over.wait(max(0.0, begun + number * SENDERS / PER_S - time.monotonic())):
                    return
                answer = client.bearer(device.token, "POST", "/v1/heartbeat", json={"status": "ok"})
                accepted(answer)
                self.request_ids.append(str(answer.request_id))
        finally:
            transport.close()


def lost(system: System, more_than: float = 0) -> float:
    """How many of the lines that go first are lost, as soon as that is more than so many."""

    def counted() -> float:
        count = system.metrics.total(BULK)
        assert count > more_than, f"{count} lines are lost"
        return count

    return eventually(counted, WITHIN_S, what="lost lines")


def processes(system: System) -> list[psutil.Process]:
    """The parent and its children."""
    parent = psutil.Process(system.running.backend.pid)
    return [parent, *sorted(parent.children(), key=lambda one: one.pid)]


def resident_bytes(system: System) -> int:
    return max(process.memory_info().rss for process in processes(system))


def told(lines: list[dict[str, Any]]) -> Counter[str]:
    """What the log itself says of lines that are missing."""
    found: Counter[str] = Counter()
    for line in lines:
        if line["event"] == "log.lost":
            found.update(line["lost"])
    return found


def serves(system: System, device: Enrolled) -> None:
    """Probes, heartbeats and commands, down to FCM: no process waits for the log."""
    for path in ("/healthz", "/readyz"):
        accepted(system.api.request("GET", path))
    accepted(device.heartbeat())
    system.ping(device)
    eventually(system.settled, within_s=10.0)


def ended(system: System) -> None:
    """SIGTERM still ends every process, in time and with exit code 0."""
    begun = time.monotonic()
    assert system.running.backend.stop() == 0
    assert time.monotonic() - begun < STOPPED_WITHIN_S


def emptied(path: Path, read: list[str]) -> bool:
    """Take what is in the log and make room, as a rotation does; true once the log says what it has lost."""
    read += path.read_text(encoding="utf-8").splitlines()
    os.truncate(path, 0)
    assert any('"log.lost"' in line for line in read), "the log says nothing of what is missing"
    return True


@case("logging/001", "recordHeartbeat 200", "getMetrics 200", slow="fills its log's disk under load")
def test_a_full_log_disk_costs_lines_and_nothing_else(disk: SmallDisk, fresh_backend: FreshBackend) -> None:
    """The log's disk is full, freed, full again under 200 heartbeats/s: nothing refused, loss counted (issue 11)."""
    other = disk.folder / "other"
    other.write_bytes(b"\0" * (DISK_KIB * 1024 // 2))
    system: System = fresh_backend(workers=2, env=SETTINGS, log_disk=disk.folder)
    device, log = system.device(), system.logs.tap.path
    before = processes(system)
    with Heartbeats(system):
        lost_once = lost(system)
        resident = resident_bytes(system)
        full_at = log.stat().st_size
        other.unlink()
        eventually(lambda: log.stat().st_size > full_at, WITHIN_S, what="the log to go on")
        lost(system, lost_once + PER_S)
        serves(system, device)
        lines, fragments = system.logs.tap.salvage()
        assert len(lines) > DISK_KIB
        assert len(fragments) <= 1, "what the full disk has cut is a line of its own"
        assert all(fragment.count('{"ts"') <= 1 for fragment in fragments), "no line became a part of a fragment"
        read: list[str] = []
        eventually(partial(emptied, log, read), WITHIN_S)
    assert resident_bytes(system) - resident < GROWTH_BYTES, "it keeps what it cannot write"
    assert processes(system) == before, "a process has ended"
    sent: list[str] = []

    def logs_again() -> bool:
        accepted(answer := device.heartbeat())
        sent.append(str(answer.request_id))
        emptied(log, read)
        return any(request_id in line for request_id in sent for line in read)

    eventually(logs_again, WITHIN_S, what="the line of a request")


@case("logging/002", "getReadiness 200", slow="starts its backend twice")
def test_it_starts_although_the_log_disk_is_full(disk: SmallDisk, fresh_backend: FreshBackend) -> None:
    """The service starts, serves and ends while its log's disk is full; with room it writes what waits (issue 11)."""
    system: System = fresh_backend(env=SETTINGS, log_disk=disk.folder)
    device = system.device()
    disk.fill()
    ended(system)
    system.running.backend.start().wait_ready()
    serves(system, device)
    started = {process.pid for process in processes(system)}
    disk.relieve()

    def all_told() -> bool:
        lines, fragments = system.logs.tap.salvage()
        assert started <= {line["pid"] for line in lines if line["event"] == "service.start"}
        assert len(fragments) <= 1, "what the full disk has cut is a line of its own"
        return True

    eventually(all_told, WITHIN_S, what="the lines of the start")


@case("logging/003", "recordHeartbeat 200", slow="kills processes")
def test_a_dead_reader_costs_lines_and_nothing_else(fresh_backend: FreshBackend) -> None:
    """The reader of stdout dies: every process lives on, none spins, lines are counted, SIGTERM ends it (issue 11)."""
    system: System = fresh_backend(workers=2, env=SETTINGS, log_pipe=True)
    device = system.device()
    before = processes(system)
    system.running.backend.reader.stop(0)
    with Heartbeats(system):
        lost(system)
        serves(system, device)
    written = sum(process.io_counters().write_count for process in before)
    threading.Event().wait(1.0)
    assert sum(process.io_counters().write_count for process in before) - written < SPINNING, "it tries all the time"
    assert processes(system) == before, "a process has ended"
    ended(system)


@case("logging/004", "recordHeartbeat 200", "getHealth 200", "getReadiness 200", slow="waits 5 s behind a full pipe")
def test_a_reader_that_reads_nothing_costs_lines_and_nothing_else(fresh_backend: FreshBackend) -> None:
    """While nobody reads stdout all is answered; then each line is there, whole, or counted as lost (issue 11)."""
    system: System = fresh_backend(env=SETTINGS, log_pipe=True)
    device, reader = system.device(), system.running.backend.reader
    eventually(system.settled, within_s=10.0)
    with frozen(reader.pid), Heartbeats(system) as heartbeats:
        lost(system, PER_S)
        serves(system, device)
        most = (PIPE_BYTES + BUFFER_BYTES) / LINE_BYTES
        assert 2 * len(heartbeats.request_ids) - system.metrics.total(BULK) < most, "more waits than may"

    def all_there() -> bool:
        assert told(system.logs.tap.since(0)) == {"bulk": system.metrics.total(BULK)}
        return True

    eventually(all_there, WITHIN_S)
    events = Counter(line["event"] for line in system.logs.tap.since(0) if line["request_id"] in heartbeats.request_ids)
    missing = 2 * len(heartbeats.request_ids) - sum(events.values())
    assert 0 < missing <= told(system.logs.tap.since(0))["bulk"], "lines are missing that nobody has counted"
    with frozen(reader.pid):
        with Heartbeats(system):
            lost(system, system.metrics.total(BULK))
        ended(system)


@case("logging/005", "* 401", "sendCommand 503", slow="loses lines under load")
def test_lines_that_matter_are_lost_last(fresh_backend: FreshBackend) -> None:
    """While all other lines are lost, each sec.* and ERROR line is kept for when there is room (issue 11)."""
    without_fcm = {"NEXMDM_FIREBASE_SERVICE_ACCOUNT_JSON": ""}
    system: System = fresh_backend(env=SETTINGS | without_fcm, log_pipe=True)
    device, reader = system.device(), system.running.backend.reader

    def ordinary_lost() -> bool:
        for _ in range(10):
            system.api.admin("GET", "/v1/scripts/enroll.sh", params={"alias": "D01"})
        return system.metrics.total('nexmdm_log_lines_lost_total{kind="ordinary"}') > 0

    with frozen(reader.pid), Heartbeats(system):
        lost(system, PER_S)
        eventually(ordinary_lost, WITHIN_S, what="lost lines of the scripts")
        rejected = [system.api.bearer("nobody", "POST", "/v1/heartbeat", json={"status": "ok"}) for _ in range(20)]
        failed = system.api.command({"device_id": device.device_id, "action": "ping"})
        lost(system, system.metrics.total(BULK))
    for answer in rejected:
        refused(answer, 401, "token_invalid")
    refused(failed, 503, "dependency_unavailable")
    kept = system.logs
    for answer in rejected:
        kept.expect(answer, "sec.auth.fail", code="token_invalid")
    kept.expect(failed, "dependency.unavailable", dependency="fcm", level="ERROR")
    ids = {answer.request_id for answer in [*rejected, failed]}
    access = [line for line in kept.tap.since(0) if line["event"] == "http.request" and line["request_id"] in ids]
    assert len(access) < len(rejected), "nothing was lost before these"
    assert not told(kept.tap.since(0))["reserved"]
    assert system.metrics.total('nexmdm_log_lines_lost_total{kind="reserved"}') == 0


@case("logging/006", slow="kills processes")
def test_the_thread_of_the_log_takes_no_signal(fresh_backend: FreshBackend) -> None:
    """SIGTERM while a dead worker is being replaced ends the service in order, as at any other time (issue 11)."""
    system: System = fresh_backend(workers=2)
    _, victim, *_ = processes(system)
    system.check_log()
    victim.kill()
    eventually(lambda: not psutil.pid_exists(victim.pid), within_s=5.0)  # the parent waits for a second now
    assert system.running.backend.stop() == 0
