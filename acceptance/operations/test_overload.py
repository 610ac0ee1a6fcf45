"""More than the service can do: it refuses at once and changes nothing, its probes answer, and it recovers alone."""

import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import psycopg

from acceptance.access.requests import CALLS, Keys, is_refused, own, send
from acceptance.platform.tasks import submitted
from acceptance.platform.zones import Platform
from acceptance.sandboxes.pool import Pool, first_runs
from acceptance.suite.case import case
from acceptance.system.locks import BLOCKED, unfinished
from acceptance.system.match import accepted, refused
from acceptance.system.system import FreshBackend, System
from harness.http.client import Answer
from harness.platform.tasks import Tasks
from harness.waiting import eventually

AT_ONCE_MS = 200
A_HICCUP_MS = 1000  # of a busy machine, once; what waits for a row that is held waits for longer
CROWD = 24  # more than the 16 that may wait for one connection, or one turn, for longer than a second
STANDS_S = 1.1
SHED_ALLOCATIONS = 'nexmdm_shed_total{queue="allocations"}'
SHED_CHANGES = 'nexmdm_shed_total{queue="zone_changes"}'
EXEMPT = {"getHealth", "getReadiness", "getMetrics"}
MADE_UP = f"nxd_{'0' * 32}_{'A' * 54}"  # of no known device, so that the beat takes the way of all other requests
NO_KEYS = Keys("nxk_" + "A" * 43, "nxk_" + "A" * 43)


@contextmanager
def locked(system: System, table: str) -> Iterator[None]:
    """Statements that need the table wait until the end of the block."""
    with psycopg.connect(system.target.database_url or "") as owner:
        owner.execute(f"lock table {table} in access exclusive mode".encode())
        yield


def prompt(answers: Sequence[Answer]) -> bool:
    """They came at once; one of them may have met a hiccup of the machine."""
    times_ms = [answer.elapsed_ms for answer in answers]
    assert statistics.median(times_ms) < AT_ONCE_MS, times_ms
    assert max(times_ms) < A_HICCUP_MS, times_ms
    return True


@contextmanager
def held(system: System, count: int) -> Iterator[list[Future[Answer]]]:
    """So many requests are under way during the block and wait for a row; they end after it."""
    with ThreadPoolExecutor(count) as pool, locked(system, "enrollment_tokens"):
        waiting = [pool.submit(system.api.admin, "GET", "/v1/enroll-tokens") for _ in range(count)]
        eventually(lambda: system.db.value(BLOCKED) == count, within_s=5.0)
        yield waiting


@case("overload/001", "* 503")
def test_beyond_the_bound_every_operation_is_refused_at_once(fresh_backend: FreshBackend) -> None:
    """With as many requests under way as a process takes all others are a 503 overloaded at once (issue 5)."""
    system: System = fresh_backend(env={"NEXMDM_MAX_IN_FLIGHT": "2"})
    device, token = system.device(), system.token()["token"]
    accepted(device.heartbeat())
    before = system.db.digest()
    refusals = sorted(CALLS.keys() - EXEMPT)
    with system.metrics.moves({'nexmdm_shed_total{queue="requests"}': len(refusals)}):
        with held(system, 2) as waiting:
            answers = {
                operation: send(
                    system.api, operation, own(system, operation, device=MADE_UP, enrolment=token, keys=NO_KEYS)
                )
                for operation in refusals
            }
            assert prompt(list(answers.values()))
            for operation, answer in answers.items():
                assert answer.status == 503, f"{operation}: {answer.status}"
                assert 1 <= int(answer.headers["retry-after"]) <= 10, operation
                is_refused(operation, answer, 503, "overloaded")
                system.logs.expect(answer, "http.request", status=503, level="ERROR")
            probes = [system.api.request("GET", path) for path in ("/healthz", "/readyz") * 3]
            for probe in probes:
                accepted(probe)
            assert prompt(probes)
            accepted(device.heartbeat())  # a known device's has a queue of its own
            assert system.api.request("GET", "/v1/nothing").status == 404
        for one in waiting:
            accepted(one.result())
    after = system.db.digest()
    own_beats = {"device_heartbeats", "device_status"}
    assert {table: rows for table, rows in after.items() if table not in own_beats} == {
        table: rows for table, rows in before.items() if table not in own_beats
    }
    accepted(system.api.admin("GET", "/v1/enroll-tokens"))


@case("overload/002", "recordHeartbeat 503")
def test_beats_that_cannot_be_written_in_time_are_refused(fresh_backend: FreshBackend) -> None:
    """Beyond a bound of waiting heartbeats the next are a 503 and no row; the service recovers by itself (issue 5)."""
    system: System = fresh_backend(env={"NEXMDM_MAX_WAITING_HEARTBEATS": "2"})
    devices = [system.device() for _ in range(8)]
    stored = "select count(*) from device_heartbeats where device_id = %s"
    with ThreadPoolExecutor(len(devices)) as pool:
        with locked(system, "device_heartbeats"):
            beats = [pool.submit(device.heartbeat) for device in devices]
            # One batch of one or two is under way, and two more wait.
            eventually(lambda: sum(beat.done() for beat in beats) >= len(devices) - 4, within_s=3.0)
            probes = [system.api.request("GET", "/healthz") for _ in range(3)]
        answers = [beat.result() for beat in beats]
    for probe in probes:
        accepted(probe)
    assert prompt(probes)
    turned_away = [answer for answer in answers if answer.status != 200]
    assert len(devices) - 4 <= len(turned_away) <= len(devices) - 3
    assert prompt(turned_away)
    for answer in turned_away:
        refused(answer, 503, "overloaded")
        assert 1 <= int(answer.headers["retry-after"]) <= 10
        system.logs.expect(answer, "http.request", status=503, level="ERROR")
    assert system.metrics.total('nexmdm_shed_total{queue="heartbeats"}') == len(turned_away)
    route = 'nexmdm_http_requests_total{route="/v1/heartbeat",status="503"}'
    assert system.metrics.total(route) == len(turned_away)
    for device, answer in zip(devices, answers, strict=True):
        assert system.db.value(stored, device.device_id) == (answer.status == 200)
    for device in devices:
        accepted(device.heartbeat())


@case("overload/003", "getHealth 200")
def test_liveness_does_not_queue_behind_requests(fresh_backend: FreshBackend) -> None:
    """/healthz pings the database within 200 ms while every connection of the pool is in use (issue 5)."""
    system: System = fresh_backend(env={"NEXMDM_DB_POOL_SIZE": "1"})
    with held(system, 1) as [waiting]:
        answers = [system.api.request("GET", "/healthz") for _ in range(5)]
    for answer in answers:
        assert accepted(answer)["database"] == "ok"
    assert prompt(answers)
    accepted(waiting.result())
    system.logs.expect(answers[0], "http.request", status=200)


@case("overload/004", "allocateSandbox 201", "allocateSandbox 503")
def test_students_who_would_wait_behind_too_many_are_refused_at_once(fresh_backend: FreshBackend) -> None:
    """A class that comes at once waits; once it stands for a second the next is refused at once (003: contention)."""
    system: System = fresh_backend(provider=True, env={"NEXMDM_ALLOCATION_CONNECTIONS": "1"})
    first_runs(system)  # of the jobs, which the lock would hold up, too
    pool = Pool(system)
    pool.seed(CROWD + 1)
    late, *crowd = pool.students(CROWD + 1)
    with ThreadPoolExecutor(CROWD) as threads, system.metrics.moves({SHED_ALLOCATIONS: 1}):
        with unfinished(system, "lock table sandboxes in exclusive mode") as wait_for:
            waiting = [threads.submit(student.allocate) for student in crowd]
            wait_for(1)
            time.sleep(STANDS_S)  # noqa: TID251 - it is the time that decides
            refusal = late.allocate()
            refused(late.current(), 404, "no_allocation")  # what waits for nothing passes by
        answers = [one.result() for one in waiting]
    refused(refusal, 503, "overloaded")
    assert 1 <= int(refusal.headers["retry-after"]) <= 10
    assert prompt([refusal])
    for answer in answers:  # a request with a place is served, or meets the time-out of the lock
        assert answer.status == 201 or answer.json()["code"] == "allocation_contended"
    accepted(late.allocate(), 201)


@case("overload/005", "submitTask 201", "submitTask 503")
def test_a_zone_that_is_written_to_too_much_is_refused_and_others_go_on(fresh_backend: FreshBackend) -> None:
    """Changes of a zone wait in turns; once too many stand for a second the next is a 503 at once (issue 16)."""
    system: System = fresh_backend(env={"NEXMDM_DB_POOL_SIZE": "4"})
    platform = Platform(system)
    zone, other = Tasks(platform.zone()), Tasks(platform.zone())
    with ThreadPoolExecutor(CROWD) as threads, system.metrics.moves({SHED_CHANGES: 1}):
        with unfinished(system, "select from zones where zone_id = %s for update", zone.zone.zone_id) as wait_for:
            waiting = [threads.submit(submitted, zone) for _ in range(CROWD)]
            wait_for(1)
            time.sleep(STANDS_S)  # noqa: TID251 - it is the time that decides
            refusal = zone.submit()
            submitted(other)
        for one in waiting:
            one.result()
    refused(refusal, 503, "overloaded")
    assert prompt([refusal])
    submitted(zone)
