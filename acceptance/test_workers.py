"""Several web processes behind one address: what one of them learns, all of them obey; and how they end."""

import os
import signal
import time
from pathlib import Path

import pytest

from acceptance.answers import accepted, refused
from acceptance.case import case
from acceptance.system import Enrolled, FreshBackend, System
from acceptance.workers import only, web_processes
from harness.client import Answer
from harness.waiting import eventually


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


@case("workers/003")
def test_sigterm_drains(fresh_backend: FreshBackend) -> None:
    """SIGTERM answers what has begun, ends every process and exits with code 0 (architecture.md; seed 001)."""
    system: System = fresh_backend(workers=2)
    device = system.device()
    accepted(device.heartbeat())
    rows = system.db.value("select count(*) from device_heartbeats where device_id = %s", device.device_id)
    pids = [line["pid"] for line in system.logs.tap.since(0) if line["event"] == "service.start"]
    assert len(pids) == 4, "a supervisor, two web workers and the background process"
    assert system.running.backend.stop() == 0
    for pid in pids:
        system.logs.wait("service.stop", pid=pid)
        assert not Path(f"/proc/{pid}").exists()
    assert rows == 1


@case("workers/004")
def test_a_dead_worker_is_replaced(fresh_backend: FreshBackend) -> None:
    """A web worker that is killed is replaced, and the other answers meanwhile (reliability target of seed 001)."""
    system: System = fresh_backend(workers=2)
    device = system.device()
    victim, _ = web_processes(system)
    before = system.metrics.total("nexmdm_registrations_total")
    system.check_log()  # an access line is written after its answer: the victim may owe one
    os.kill(victim, signal.SIGKILL)
    system.api.reconnect()
    accepted(system.api.bearer(device.token, "POST", "/v1/heartbeat", json={"status": "ok"}))
    eventually(lambda: len(web_processes(system)) == 2 and victim not in web_processes(system), within_s=5.0)
    system.logs.wait("service.stop", pid=victim, role="web", level="ERROR")
    assert system.metrics.total("nexmdm_registrations_total") == before, "counters outlive a worker"
