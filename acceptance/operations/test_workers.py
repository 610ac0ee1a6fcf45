"""Several web processes behind one address: what one of them learns, all of them obey; and how they end."""

import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import psutil
import psycopg
import pytest

from acceptance.fleet.apks import new_package, upload
from acceptance.suite.case import case
from acceptance.system.match import accepted, refused
from acceptance.system.system import Enrolled, FreshBackend, System
from acceptance.system.web_workers import kill, only, web_processes
from harness.http.client import Answer, TransportError
from harness.settings import backend_command
from harness.waiting import eventually

# Of dispatches the rows alone: the dispatcher, which writes that table all the time, passes over what is locked.
HOLD = {
    "device_heartbeats": "lock table device_heartbeats in share mode",
    "commands": "lock table commands in share mode",
    "fcm_dispatches": "select from fcm_dispatches for update",
}
HELD_UP = "select count(*) from pg_stat_activity where %s = any(pg_blocking_pids(pid))"


def beat_of_each(system: System, device: Enrolled) -> list[Answer]:
    """A heartbeat answered by each worker."""
    answers = []
    for pid in web_processes(system):
        with only(system, pid) as api:
            answers.append(api.bearer(device.token, "POST", "/v1/heartbeat", json={"status": "ok"}))
    return answers


@case("workers/001")
def test_metrics_count_every_worker(two_workers: System) -> None:
    """A scrape of any worker counts what all of them did (api.md: metrics complete with several workers)."""
    system = two_workers
    device = system.device()
    assert len(web_processes(system)) == 2
    with system.metrics.moves({"nexmdm_heartbeats_total": 2}):
        answers = beat_of_each(system, device)
    assert [answer.status for answer in answers] == [200, 200]
    for pid in web_processes(system):
        with only(system, pid):
            assert system.metrics.total('nexmdm_http_requests_total{route="/v1/heartbeat",status="200"}') >= 2
    system.logs.expect(answers[0], "http.request", status=200)


@case("workers/002")
@pytest.mark.parametrize("how", ["retired", "enrolled again"])
def test_a_dead_token_is_refused_by_every_worker(how: str, two_workers: System) -> None:
    """A retired device's token, or one replaced by re-enrolment, is refused by all workers within 1 s (api.md)."""
    system = two_workers
    device = system.device()
    assert [answer.status for answer in beat_of_each(system, device)] == [200, 200], "both workers know the token"
    if how == "retired":
        accepted(system.api.admin("DELETE", f"/v1/devices/{device.device_id}"))
    else:
        system.device(device.alias)
    died = time.monotonic()
    answers = beat_of_each(system, device)
    assert time.monotonic() - died < 1.0
    for answer in answers:
        refused(answer, 401, "token_invalid")
        system.logs.expect(answer, "sec.auth.fail", code="token_invalid")


@case("workers/003", slow="ends its backend")
@pytest.mark.parametrize("table", ["device_heartbeats", "fcm_dispatches"], ids=["fast path", "application"])
def test_sigterm_drains(table: str, fresh_backend: FreshBackend) -> None:
    """SIGTERM answers what has begun, ends every process and exits with code 0 (architecture.md; seed 001)."""
    system: System = fresh_backend(workers=2)
    device = system.device()
    request_id = system.ping(device)
    eventually(system.settled, within_s=5.0)
    pids = [line["pid"] for line in system.logs.tap.since(0) if line["event"] == "service.start"]
    assert len(pids) == 4, "a supervisor, two web workers and the background process"
    calls: dict[str, Callable[[], Answer]] = {
        "device_heartbeats": device.heartbeat,
        "fcm_dispatches": lambda: device.complete(request_id),
    }
    with ThreadPoolExecutor(2) as pool:
        with psycopg.connect(system.target.database_url or "") as owner:
            owner.execute(HOLD[table].encode())
            begun = pool.submit(calls[table])
            eventually(lambda: system.db.value(HELD_UP, owner.info.backend_pid) == 1, within_s=5.0)
            ended = pool.submit(system.running.backend.stop)
            # The idle one has ended: the signal is there, and who still answers has been told too.
            system.logs.wait("service.stop", role="web")
        accepted(begun.result())
        assert ended.result() == 0
    for pid in pids:
        system.logs.wait("service.stop", pid=pid)
        assert not Path(f"/proc/{pid}").exists()
    written = "fcm_dispatches where status = 'completed'" if table == "fcm_dispatches" else table
    assert system.db.value(f"select count(*) from {written}") == 1


@case("workers/004", slow="kills processes")
def test_a_dead_worker_is_replaced(fresh_backend: FreshBackend) -> None:
    """A web worker that is killed is replaced, and the other answers meanwhile (reliability target of seed 001)."""
    system: System = fresh_backend(workers=2)
    victim, _ = web_processes(system)
    with only(system, victim):
        device = system.device()
    before = system.metrics.total("nexmdm_registrations_total")
    kill(system, victim)
    system.api.reconnect()
    accepted(system.api.bearer(device.token, "POST", "/v1/heartbeat", json={"status": "ok"}))
    eventually(lambda: len(web_processes(system)) == 2 and victim not in web_processes(system), within_s=5.0)
    system.logs.wait("service.stop", pid=victim, role="web", level="ERROR")
    assert system.metrics.total("nexmdm_registrations_total") == before, "counters outlive a worker"


@case("workers/005", slow="kills processes")
@pytest.mark.parametrize("table", ["device_heartbeats", "commands", "fcm_dispatches"])
def test_nothing_is_answered_before_it_is_written(table: str, fresh_backend: FreshBackend) -> None:
    """A 200 promises a row: while the row cannot be written there is none, and after kill -9 all are there (api.md)."""
    system: System = fresh_backend()
    device = system.device()
    accepted(device.heartbeat())
    request_id = system.ping(device)
    eventually(system.settled, within_s=5.0)
    calls: dict[str, Callable[[], Answer]] = {
        "device_heartbeats": device.heartbeat,
        "commands": lambda: system.api.command({"device_id": device.device_id, "action": "ping"}),
        "fcm_dispatches": lambda: device.complete(request_id),
    }
    with ThreadPoolExecutor(1) as pool, psycopg.connect(system.target.database_url or "") as owner:
        owner.execute(HOLD[table].encode())
        begun = pool.submit(calls[table])
        eventually(lambda: begun.done() or system.db.value(HELD_UP, owner.info.backend_pid) == 1, within_s=5.0)
        assert not begun.done(), "answered before it was written"
        workers = web_processes(system)
        system.running.backend.kill()
        for pid in workers:  # left alone they would finish what they have begun
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        owner.rollback()
        assert isinstance(begun.exception(), TransportError)
    system.running.backend.restart()
    assert system.db.value("select count(*) from device_heartbeats where device_id = %s", device.device_id) >= 1
    assert system.db.value("select count(*) from commands where request_id = %s", request_id) == 1


@case("workers/006")
def test_a_revoked_token_is_refused_by_every_worker(two_workers: System) -> None:
    """A revoked enrolment token, which both workers have seen, opens nothing at either of them (api.md: revoked)."""
    system, package, token = two_workers, new_package(), two_workers.token()
    accepted(upload(system.api, package_name=package), 201)

    def downloads() -> list[Answer]:
        answers = []
        for pid in web_processes(system):
            with only(system, pid) as api:
                path, params = "/v1/apk/download-latest", {"package_name": package}
                answers.append(api.bearer(token["token"], "GET", path, params=params))
        return answers

    assert [answer.status for answer in downloads()] == [200, 200], "both workers know the token"
    accepted(system.api.admin("DELETE", f"/v1/enroll-tokens/{token['token_id']}"))
    for answer in downloads():
        refused(answer, 401, "token_revoked")
        system.logs.expect(answer, "sec.auth.fail", code="token_revoked")


@case("workers/007", slow="kills processes")
def test_a_child_that_it_did_not_start_is_reaped_and_ignored(
    fresh_backend: FreshBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an entrypoint `helper & exec nexmdm serve` the service gets a child: its end ends nothing else (issue 11)."""
    told, entrypoint = tmp_path / "helper.pid", tmp_path / "entrypoint"
    # A parent that ignores SIGCHLD hands that down; dash, which may be sh, does not.
    deaf = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    command = shlex.join([sys.executable, "-I", "-S", "-c", deaf, backend_command()])
    entrypoint.write_text(f'#!/bin/sh\nsleep 600 &\necho $! > {shlex.quote(str(told))}\nexec {command} "$@"\n')
    entrypoint.chmod(0o755)
    monkeypatch.setenv("NEXMDM_BACKEND_COMMAND", str(entrypoint))
    system: System = fresh_backend(workers=2)
    workers = web_processes(system)
    service = psutil.Process(system.running.backend.pid)
    assert len(service.children()) == 4, "two web processes, the background process and the helper that still runs"
    os.kill(int(told.read_text()), signal.SIGKILL)
    eventually(lambda: service.is_running() and len(service.children()) == 3, within_s=5.0, what="a reaped helper")
    device = system.device()
    assert [answer.status for answer in beat_of_each(system, device)] == [200, 200]
    assert web_processes(system) == workers
    kill(system, workers[0])
    system.api.reconnect()
    eventually(lambda: len(set(web_processes(system)) - set(workers)) == 1, within_s=5.0)
    assert system.running.backend.stop() == 0


@case("workers/008", slow="kills processes")
def test_workers_that_die_together_come_back_together(fresh_backend: FreshBackend) -> None:
    """When all processes are killed at once, all are back after one pause, and SIGTERM is obeyed in it (issue 11)."""
    system: System = fresh_backend(workers=4)
    parent = psutil.Process(system.running.backend.pid)

    def kill_all() -> set[int]:
        victims = parent.children()
        for victim in victims:
            victim.kill()
        for victim in victims:
            system.logs.wait("service.stop", pid=victim.pid, level="ERROR")
        return {victim.pid for victim in victims}

    first = kill_all()
    system.api.reconnect()
    eventually(lambda: len({child.pid for child in parent.children()} - first) == 5, within_s=10.0)
    eventually(lambda: system.api.request("GET", "/readyz").status == 200, within_s=10.0)
    lines = system.logs.tap.since(0)
    stopped, started = (
        [datetime.fromisoformat(line["ts"]) for line in lines if line["event"] == event][-5:]
        for event in ("service.stop", "service.start")
    )
    assert (stopped[-1] - stopped[0]).total_seconds() < 1.0, "all ends are noticed at once"
    assert (started[-1] - stopped[0]).total_seconds() < 4.0, "one pause for all"
    system.check_log()
    kill_all()
    assert system.running.backend.stop() == 0


@case("workers/009", "getMetrics 200", slow="kills processes")
def test_a_tmp_cleaner_takes_no_metrics_away(fresh_backend: FreshBackend) -> None:
    """With all of TMPDIR removed counters stay, a killed worker comes back, and /metrics answers 200 (issue 11)."""
    system: System = fresh_backend(workers=2)
    device = system.device()
    accepted(device.heartbeat())
    heartbeats = "nexmdm_heartbeats_total"
    eventually(lambda: system.metrics.total(heartbeats) == 1, within_s=3.0)
    shutil.rmtree(system.running.env["TMPDIR"])
    victim, _ = web_processes(system)
    kill(system, victim)
    system.api.reconnect()
    eventually(lambda: len(web_processes(system)) == 2 and victim not in web_processes(system), within_s=5.0)
    assert system.metrics.total(heartbeats) == 1
    with system.metrics.moves({heartbeats: 2}):
        assert [answer.status for answer in beat_of_each(system, device)] == [200, 200]
    assert system.metrics.total("nexmdm_db_pool_size") == 30, "three pools of 10"
