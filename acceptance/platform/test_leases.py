"""Leases of tasks as executors have them: kept, lost, ended; each agent's its own, and void with its session."""

from datetime import datetime
from statistics import pstdev

import pytest

from acceptance.access.requests import UNKNOWN
from acceptance.platform.agents import AGENTS, brought_to, moved, registered
from acceptance.platform.tasks import brought_to as task_brought_to
from acceptance.platform.tasks import claimed, end_lease, history, leased, seen, submitted
from acceptance.platform.test_scheduler import INSERTED
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.system import System
from harness.platform.tasks import LONG_S, Tasks
from harness.platform.zone import Zone
from harness.waiting import eventually

ZONE_ROW = "select z::text from zones z where zone_id = %s"
LEASE = "select lease_until, status, attempt from tasks where task_id = %s"
LEFT_S = "select extract(epoch from lease_until - clock_timestamp())::float8 from tasks where task_id = %s"
FAILURES = 200
PAUSES = """
    select extract(epoch from due_at - ended_at)::float8 as pause_s
    from tasks join task_attempts using (zone_id, task_id) where zone_id = %s and number = %s and number = attempt
"""


@pytest.fixture
def tasks(zone: Zone) -> Tasks:
    """The tasks of a fresh zone, as a member of it has them."""
    return Tasks(zone)


@case("leases/001", "heartbeatTask 200", "claimTasks 200")
def test_a_heartbeat_keeps_a_lease(tasks: Tasks, platform: Platform, system: System) -> None:
    """A heartbeat moves the end by the time that was asked for; it makes no event and leaves the zone's row (api)."""
    submitted(tasks)
    [lease] = claimed(tasks, lease_s=LONG_S)  # one of ten minutes would end within another case
    platform.write("update tasks set lease_until = lease_until - interval '300 s' where task_id = %(t)s", t=lease["id"])
    zone_id = tasks.zone.zone_id
    before = system.db.value(ZONE_ROW, zone_id), tasks.zone.log()
    told = accepted(tasks.heartbeat(lease))
    assert not told["cancel_requested"]
    row = system.db.row(LEASE, lease["id"])
    assert row["lease_until"] == datetime.fromisoformat(told["lease_until"])
    assert LONG_S - 10 < system.db.value(LEFT_S, lease["id"]) <= LONG_S
    assert (system.db.value(ZONE_ROW, zone_id), tasks.zone.log()) == before
    with platform.unchanged():
        for wrong in (
            {"limit": 0},
            {"limit": 101},
            {"lease_s": 4.9},
            {"lease_s": 3601},
            {"wait_s": 21},
            {"wait_s": -1},
        ):
            refused(tasks.claim(**wrong), 422, "validation_error")


@case("leases/002", "heartbeatTask 409", "completeTask 409", "failTask 409", "heartbeatTask 404", "completeTask 404",
      "failTask 404", "heartbeatTask 422", "completeTask 422", "failTask 422")  # fmt: skip
def test_what_is_not_held(tasks: Tasks, platform: Platform) -> None:
    """Another token, one of before, or one whose time is over is a 409; what is no task is a 404 (api)."""
    lease = leased(tasks, backoff_base_s=0)
    accepted(tasks.fail(lease))
    [now] = claimed(tasks)
    assert (now["id"], now["attempt"]) == (lease["id"], 2)
    lost = [lease, {**now, "lease_token": UNKNOWN}]
    lost += [
        {"id": task_brought_to(state, tasks)["id"], "lease_token": now["lease_token"]} for state in ("queued", "failed")
    ]
    lost.append(task_brought_to("completed", tasks))
    over = leased(tasks, executor="of-the-past")
    nobody_s = [{**now, "id": UNKNOWN}, {**now, "id": "x"}, {**now, "id": now["id"].upper()}]
    with platform.unchanged():
        for call in (tasks.heartbeat, tasks.complete, tasks.fail):
            for one in lost:
                refused(call(one), 409, "lease_lost")
            for one in nobody_s:
                refused(call(one), 404, "task_not_found")
            refused(call({**now, "lease_token": "x"}), 422, "validation_error")
        refused(tasks.complete(now, result=[]), 422, "validation_error")
        refused(tasks.fail(now, "x" * 2001), 422, "validation_error")
        assert pointers(refused(tasks.fail(now, "x", retryable=1), 422, "validation_error")) == {"/body/retryable"}
    end_lease(platform, over["id"])
    refused(tasks.complete(over), 409, "lease_lost")
    accepted(tasks.complete(now))
    eventually(lambda: seen(tasks, over["id"])["status"] == "queued", within_s=5.0)


@case("leases/003", "getTask 200", "claimTasks 200")
def test_a_lease_that_ends_is_a_failed_attempt(platform: Platform, system: System) -> None:
    """The end of a lease is retried as a failure, in each zone, or ends the task; it is told and counted (004)."""
    zones = [platform.zone() for _ in range(2)]
    moved = {
        "nexmdm_platform_task_leases_expired_total": 4,
        'nexmdm_platform_tasks_total{event="task.retried"}': 2,
        'nexmdm_platform_tasks_total{event="task.failed"}': 2,
    }
    with system.metrics.moves(moved, within_s=8.0):
        leases = [(Tasks(zone), leased(Tasks(zone), max_attempts=2, backoff_base_s=0)) for zone in zones]
        for _, lease in leases:
            end_lease(platform, lease["id"])
        for tasks, lease in leases:
            again = claimed(tasks, wait_s=5)
            assert [(one["id"], one["attempt"]) for one in again] == [(lease["id"], 2)]
            system.logs.wait("platform.task.retried", task_id=lease["id"], attempt=1, reason="lease_expired")
            assert seen(tasks, lease["id"])["error_message"] == "lease_expired"
            end_lease(platform, lease["id"])
        for tasks, lease in leases:
            eventually(lambda: seen(tasks, lease["id"])["status"] == "failed", within_s=5.0)  # noqa: B023
    for tasks, lease in leases:
        shown = seen(tasks, lease["id"])
        assert [one["outcome"] for one in shown["attempts"]] == ["expired", "expired"]
        assert history(tasks.zone, lease["id"]) == ["submitted", *["claimed", "retried"], "claimed", "failed"]
        system.logs.wait("platform.task.failed", task_id=lease["id"], attempt=2, reason="lease_expired")
        assert tasks.zone.usage()["max_tasks_queued"] == 0


@case("leases/004", "claimTasks 403", "heartbeatTask 404", "completeTask 404", "failTask 404")
def test_an_agent_runs_its_own_tasks(tasks: Tasks, platform: Platform) -> None:
    """A key of an agent claims for itself alone and touches no lease of another executor; a member's may (api)."""
    zone_id = tasks.zone.zone_id
    worker, other = (Tasks(platform.agent(zone_id, name)) for name in ("worker", "other"))
    lease = leased(tasks, executor="worker")
    with platform.unchanged():
        refused(other.claim("worker"), 403, "agent_forbidden")
        for call in (other.heartbeat, other.complete, other.fail):
            refused(call(lease), 404, "task_not_found")
    accepted(worker.heartbeat(lease))
    accepted(worker.complete(lease))
    submitted(tasks, executor="other")
    [own] = claimed(other, executor="other")
    accepted(tasks.complete(own))


@case("leases/005", "claimTasks 409", "claimTasks 422", "heartbeatTask 409", "completeTask 409", "failTask 409")
def test_a_lease_ends_with_the_session(tasks: Tasks, platform: Platform) -> None:
    """A registered agent claims with its generation; once it connects again or is deleted its leases are void (api)."""
    zone = tasks.zone
    agent, nobody = (Tasks(platform.agent(zone.zone_id, name)) for name in ("worker", "nobody"))
    registered(zone, "worker")
    first = moved(zone, "worker", "CONNECTED")
    for _ in range(3):
        submitted(tasks)
    with platform.unchanged():
        assert pointers(refused(agent.claim(), 422, "validation_error")) == {"/body/generation"}
        refused(agent.claim(generation=first + 1), 409, "stale_generation")
        refused(nobody.claim("nobody", generation=1), 409, "stale_generation")
        refused(tasks.claim(generation=first), 409, "stale_generation")
    [void] = claimed(agent, generation=first)
    accepted(agent.heartbeat(void))
    moved(zone, "worker", "IDLE")
    accepted(agent.heartbeat(void))
    second = moved(zone, "worker", "CONNECTED")
    with platform.unchanged():
        for call in (agent.heartbeat, agent.complete, agent.fail):
            refused(call(void), 409, "stale_generation")
    [kept, deleted] = claimed(agent, generation=second, limit=2)
    accepted(agent.complete(kept))
    zone.rpc("delete_agent", agent_id="worker")
    brought_to(zone, "IDLE", "worker")
    assert moved(zone, "worker", "CONNECTED") == second, "as the session before"
    refused(agent.heartbeat(deleted), 409, "stale_generation")
    end_lease(platform, void["id"])
    eventually(lambda: seen(tasks, void["id"])["status"] == "queued", within_s=5.0)
    for one in (void, deleted):
        accepted(tasks.cancel(one["id"]))


@case("leases/007", "getAgentStatus 200")
def test_the_inbox_of_an_agent(tasks: Tasks, platform: Platform) -> None:
    """The status of an agent counts the queued tasks whose executor it is, of all owners in its zone (platform.md)."""
    zone = tasks.zone
    registered(zone, "worker")
    for owner in (tasks, Tasks(platform.agent(zone.zone_id, "planner"))):
        submitted(owner)
    submitted(tasks, executor="other")
    submitted(Tasks(platform.zone()))
    status = f"{AGENTS}/worker/status"
    assert accepted(zone.request("GET", status))["inbox_depth"] == 2
    [lease] = claimed(tasks)
    assert accepted(zone.request("GET", status))["inbox_depth"] == 1
    accepted(tasks.complete(lease))


@case("leases/006", slow="200 requests")
def test_many_failures_keep_their_bounds(platform: Platform) -> None:
    """Of 200 failures each pause is within a half and the whole of its bound, and they do not come together (004)."""
    zone = platform.zone()
    platform.write(INSERTED, zone=zone.zone_id, count=FAILURES // 2)
    platform.write("update zones set tasks_queued = %(n)s where zone_id = %(zone)s", zone=zone.zone_id, n=FAILURES // 2)
    shares: list[float] = []
    with platform.apart(zone) as apart:
        for bound_s in (1, 2):
            for lease in claimed(Tasks(apart), limit=100):
                accepted(Tasks(apart).fail(lease))
            pauses = platform.system.db.rows(PAUSES, zone.zone_id, bound_s)
            shares += [row["pause_s"] / bound_s for row in pauses]
            platform.write("update tasks set due_at = now(), rank = now() where zone_id = %(z)s", z=zone.zone_id)
    assert len(shares) == FAILURES
    assert 0.499 <= min(shares) < 0.55
    assert 0.95 < max(shares) <= 1.001
    assert 0.1 < pstdev(shares) < 0.2, "an even spread has 0.144"
