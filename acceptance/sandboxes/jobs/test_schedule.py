"""The jobs by schedule: each at its interval after its last end, once over all processes, also after a restart."""

import time
from functools import partial
from itertools import pairwise
from typing import Any

from acceptance.sandboxes.pool import Pool, first_runs
from acceptance.suite.case import case
from acceptance.system.locks import BLOCKED, unfinished
from acceptance.system.match import accepted
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import background_process, kill
from harness.waiting import eventually

EACH_SECOND = {f"NEXMDM_{job}_EVERY_S": "1" for job in ("SYNC", "CLEANUP", "EXPIRY", "STALE")}
DAYS = dict.fromkeys([*EACH_SECOND, "NEXMDM_DRY_SYNC_EVERY_S"], "86400")
IMPATIENT = {"NEXMDM_PROVIDER_TIMEOUT_S": "1", "NEXMDM_DELETION_LEASE_S": "11", "NEXMDM_STALE_GRACE_HOURS": "1"}
OTHERS = ("cleanup", "expiry", "stale")
OVER = 4 * 3600 + 1800 + 2


def runs(system: System, job: str, event: str = "sandboxes.job.finished") -> list[dict[str, Any]]:
    """The lines of a job's runs."""
    lines = system.logs.tap.since(0)
    return [line for line in lines if line["event"] == event and line["job"] == job]


def ran(system: System, job: str, times: int) -> bool:
    return len(runs(system, job)) >= times


@case("schedule/001", slow="waits for the schedule")
def test_each_job_runs_by_itself(fresh_backend: FreshBackend) -> None:
    """Sync, cleanup, expiry and stale run at their intervals, with a line before and after (003: background jobs)."""
    system: System = fresh_backend(provider=True, env=EACH_SECOND | IMPATIENT)
    pool, provider = Pool(system), system.provider
    accounts = provider.add(8)
    eventually(lambda: list(pool.statuses().values()).count("available") == 8, within_s=10.0, what="a sync")
    released, expired, *_ = students = pool.students(3)
    ids = [student.has()["sandbox_id"] for student in students]
    accepted(released.release(ids[0]))
    pool.age(ids[1], OVER)
    [lost] = [one for one in accounts if str(one["csp_id"]) not in ids][:1]
    provider.remove(lost["csp_id"])
    eventually(lambda: pool.status(str(lost["csp_id"])) == "stale", within_s=10.0, what="a sync")
    pool.write("update sandboxes set status_since = now() - interval '2 hours' where status = 'stale'")
    eventually(lambda: str(lost["csp_id"]) not in pool.statuses(), within_s=10.0, what="the removal of stale ones")
    eventually(lambda: [pool.status(one) for one in ids] == ["deleted", "deleted", "allocated"], within_s=10.0)
    assert pool.ledger(ids[1])["end_reason"] == "expired"
    assert accepted(expired.current(), 404)["code"] == "no_allocation"
    for job in ("sync", "cleanup", "expiry", "stale"):
        eventually(partial(ran, system, job, 2), within_s=15.0)
        for event in ("sandboxes.job.started", "sandboxes.job.finished"):
            assert {line["interval_s"] for line in runs(system, job, event)} == {1}
        assert all(set(line["counts"]) for line in runs(system, job))


@case("schedule/002", slow="restarts its backend")
def test_what_a_restart_missed_runs_at_the_start(fresh_backend: FreshBackend) -> None:
    """A job that fell due while nothing ran runs at the start; one that is not due waits (sandboxes.md: schedule)."""
    system: System = fresh_backend(provider=True, env=DAYS)
    pool, provider, backend = Pool(system), system.provider, system.running.backend
    first_runs(system)
    assert len(provider.calls("list")) == 1
    backend.restart()
    others_run(system, pool, 2)
    assert len(provider.calls("list")) == 1, "the last sync was a moment ago"
    backend.stop()
    pool.write("update job_runs set finished_at = finished_at - interval '25 hours' where job = 'sync'")
    backend.start().wait_ready()
    eventually(lambda: len(provider.calls("list")) == 2, within_s=10.0, what="the sync that was missed")
    eventually(partial(ran, system, "sync", 2), within_s=15.0)
    for times in (3, 4):
        others_run(system, pool, times)
    assert len(provider.calls("list")) == 2
    assert [len(runs(system, job)) for job in OTHERS] == [4, 4, 4]


def others_run(system: System, pool: Pool, times: int) -> None:
    """Let the other jobs fall due, and wait for their runs: each is looked at once a second, and so is sync."""
    pool.write("update job_runs set finished_at = finished_at - interval '25 hours' where job <> 'sync'")
    for job in OTHERS:
        eventually(partial(ran, system, job, times), within_s=10.0)


@case("schedule/003", slow="waits for the schedule")
def test_a_job_runs_once_over_all_processes(fresh_backend: FreshBackend) -> None:
    """Of two backends' background processes one runs a job, an interval after its last end (sandboxes.md: once)."""
    system: System = fresh_backend(provider=True, replicas=2, env=EACH_SECOND | IMPATIENT)
    system.provider.script("list", [{"delay_s": 0.5, "times": 0}])
    after = system.provider.calls("list")[-1]["seq"] if system.provider.calls("list") else 0
    eventually(lambda: len(system.provider.calls("list", after=after)) >= 5, within_s=20.0, what="five syncs")
    *calls, _ = system.provider.calls("list", after=after)
    pauses = [later["at"] - sooner["ended_at"] for sooner, later in pairwise(calls)]
    assert min(pauses) >= 0.95, f"{pauses}: the interval is a second"


@case("schedule/004", slow="waits for the schedule")
def test_the_schedule_survives_a_provider_that_is_down(fresh_backend: FreshBackend) -> None:
    """Jobs that fail run again at their interval; when the provider is back all is as usual (003: CSP failures)."""
    system: System = fresh_backend(provider=True, env=EACH_SECOND | IMPATIENT | {"NEXMDM_BREAKER_OPEN_S": "1"})
    pool, provider = Pool(system), system.provider
    accounts = provider.add(6)
    eventually(lambda: len(pool.statuses()) == 6, within_s=10.0, what="a sync")
    student = pool.student()
    held = student.has()["sandbox_id"]
    provider.down()
    accepted(student.release(held))
    system.logs.wait("sandboxes.breaker.opened")
    assert pool.student().allocate().status == 201, "the pool is served"
    provider.up()
    system.logs.patience_s = 15.0
    system.logs.wait("sandboxes.breaker.closed")
    pool.due()
    eventually(lambda: pool.status(held) == "deleted", within_s=15.0, what="the deletion")
    assert len(provider.accounts()) == len(accounts) - 1


@case("schedule/005", slow="kills its background process")
def test_a_deletion_outlives_the_process_that_made_it(fresh_backend: FreshBackend) -> None:
    """kill -9 in the middle of a deletion: when the lease is over the sandbox is deleted again, by 404 (003: kills)."""
    system: System = fresh_backend(provider=True, env=EACH_SECOND | IMPATIENT)
    pool, provider = Pool(system), system.provider
    [gone] = pool.seed_listed(provider.add(1))
    student = pool.student()
    student.has()
    provider.script("delete", [{"status": 204, "delay_s": 0.8}])
    accepted(student.release(gone))
    provider.calls("delete", wait_s=10)
    kill(system, background_process(system))
    assert pool.status(gone) == "deleting"
    eventually(lambda: pool.status(gone) == "deleted", within_s=20.0, what="the second deletion")
    assert [call["status"] for call in provider.calls("delete")] == [204, 404]
    assert accepted(student.look(gone))["status"] == "deleted"


@case("schedule/006", slow="waits for the schedule")
def test_the_gauges_show_the_pool(fresh_backend: FreshBackend) -> None:
    """The pool by status, the oldest deletion that waits and the last good sync are gauges (003: metrics)."""
    system: System = fresh_backend(provider=True, env=DAYS)
    pool, metrics = Pool(system), system.metrics
    first_runs(system)
    pool.seed(3)
    student = pool.student()
    held = student.has()["sandbox_id"]
    gauge = 'nexmdm_sandboxes_pool{{status="{}"}}'

    def shows(**sizes: int) -> bool:
        seen = {status: metrics.total(gauge.format(status)) for status in sizes}
        assert seen == sizes
        return True

    eventually(lambda: shows(available=2, allocated=1, pending_deletion=0, deleted=0), within_s=20.0)
    accepted(student.release(held))
    pool.write(
        "update allocations set ended_at = ended_at - interval '1 hour', allocated_at = allocated_at"
        " - interval '2 hours'"
    )
    eventually(lambda: shows(available=2, allocated=0, pending_deletion=1), within_s=20.0)
    oldest = "nexmdm_sandboxes_oldest_pending_deletion_seconds"
    eventually(lambda: 3600 <= metrics.total(oldest) < 3700, within_s=20.0)
    assert metrics.total("nexmdm_sandboxes_last_good_sync_seconds") < 60
    pool.write(
        "update sync_runs set started_at = started_at - interval '2 hours',"
        " finished_at = finished_at - interval '2 hours'"
    )
    eventually(lambda: metrics.total("nexmdm_sandboxes_last_good_sync_seconds") >= 7200, within_s=20.0)
    assert metrics.total("nexmdm_sandboxes_breaker_open") == 0


@case("schedule/007", slow="waits for the schedule")
def test_a_look_at_the_pool_that_was_held_up_leaves_no_old_gauges(fresh_backend: FreshBackend) -> None:
    """After a look at the pool that took seconds the gauges follow again within ten more (issue 13)."""
    system: System = fresh_backend(provider=True, env=DAYS)
    pool, gauge = Pool(system), 'nexmdm_sandboxes_pool{status="available"}'
    first_runs(system)
    pool.seed(3)
    eventually(lambda: system.metrics.total(gauge) == 3, within_s=30.0)
    with unfinished(system, "lock table sandboxes"):
        eventually(lambda: system.db.value(BLOCKED) == 1, within_s=30.0, what="a look that waits")
        held_until = time.monotonic() + 2
        eventually(lambda: time.monotonic() > held_until, within_s=4.0)
    pool.seed(2)
    eventually(lambda: system.metrics.total(gauge) == 5, within_s=30.0)
