"""The rows `scheduler` of seed 004: a task is created, tried again with backoff, served by priority, stopped."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from acceptance.platform.tasks import aged, brought_to, claimed, end_lease, history, leased, seen, submitted
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.match import accepted, refused
from acceptance.system.system import System
from acceptance.system.web_workers import both, race
from harness.platform.tasks import Tasks
from harness.platform.zone import Zone
from harness.waiting import eventually

pytestmark = [pytest.mark.auto, pytest.mark.scheduler]

PRIORITIES = ("critical", "high", "normal", "low", "best_effort")
ROW = "select status, owner, executor, tier, attempt from tasks where task_id = %s"
MANY = 1000
INSERTED = """
    insert into tasks (zone_id, task_id, owner, executor, task_type, payload, tier, request_state, enqueued_at, due_at,
        rank, max_attempts, backoff_base_s, backoff_cap_s)
    select %(zone)s, overlay(gen_random_uuid()::text placing '7' from 15)::uuid, 'planner',
        'worker', 'render', json_build_object('n', n)::text, n %% 5,
        'pending', at, at, at + n %% 5 * interval '60 s', 3, 1, 300
    from generate_series(1, %(count)s) n, lateral (select now() - interval '1 s' + n * interval '1 us' as at) one
"""


def when(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@case("scheduler/001", "submitTask 201", "getTask 200", "claimTasks 200", "completeTask 200")
def test_a_task_is_created(two_workers: System, platform_of_two: Platform) -> None:
    """A submitted task has its row, its event and its line, every worker knows it, and a claim delivers it (004)."""
    platform = platform_of_two
    zone = platform.zone()
    agent = Tasks(platform.agent(zone.zone_id, "planner"))
    payload = {"page": 4, "text": "ü\u0000", "deep": [{"a": None, "b": 1.5}]}
    with two_workers.metrics.moves({'nexmdm_platform_tasks_total{event="task.submitted"}': 1}):
        answer = agent.submit(priority="high", payload=payload)
    task = accepted(answer, 201)
    assert task["task_id"] == task["id"]
    assert (task["status"], task["priority"], task["priority_tier"]) == ("queued", "high", "high")
    assert (task["agent_id"], task["executor_id"], task["payload"]) == ("planner", "worker", payload)
    two_workers.logs.expect(answer, "platform.task.submitted", task_id=task["id"], executor="worker")
    row = {"status": "queued", "owner": "planner", "executor": "worker", "tier": 1, "attempt": 0}
    assert two_workers.db.row(ROW, task["id"]) == row
    [event] = zone.log(path_prefix=task["id"])
    assert (event["type"], event["agent_id"]) == ("task.submitted", "planner")
    assert zone.usage()["max_tasks_queued"] == 1
    with both(two_workers):
        assert [seen(agent, task["id"]) for _ in range(4)] == [task] * 4
    worker = Tasks(zone)
    [lease] = claimed(worker)
    assert (lease["id"], lease["payload"], lease["attempt"]) == (task["id"], payload, 1)
    assert zone.usage()["max_tasks_queued"] == 0
    done = worker.complete(lease, result={"pages": 1})
    assert accepted(done)["status"] == "completed"
    two_workers.logs.expect(done, "platform.task.completed", task_id=task["id"], attempt=1, reason="reported")
    after = seen(agent, task["id"])
    assert (after["status"], after["result"], after["error_message"]) == ("completed", {"pages": 1}, None)
    assert [(one["number"], one["outcome"]) for one in after["attempts"]] == [(1, "completed")]
    assert history(zone, task["id"]) == ["submitted", "claimed", "completed"]


@case("scheduler/002", "failTask 200", "submitTask 200", "claimTasks 200")
def test_a_task_is_tried_again(two_workers: System, platform_of_two: Platform) -> None:
    """Failures are retried within their backoff, each is a row, the last one ends it; one key is one task (004)."""
    platform = platform_of_two
    tasks = Tasks(platform.zone())
    zone = tasks.zone
    task = submitted(tasks, max_attempts=4, backoff_base_s=0.1, backoff_cap_s=0.15)
    due: list[float] = []
    for number, cap in ((1, 0.1), (2, 0.15), (3, 0.15)):
        [lease] = claimed(tasks, wait_s=5)
        ended = accepted(tasks.fail(lease, f"no {number}"))
        shown = seen(tasks, task["id"])
        pause = when(ended["next_attempt_at"]) - when(shown["attempts"][-1]["ended_at"])
        assert ended["status"] == "queued"
        assert 0.5 * cap - 0.01 <= pause <= cap + 0.01, (number, pause)
        due.append(when(ended["next_attempt_at"]))
        assert (shown["next_attempt_at"], shown["error_message"]) == (ended["next_attempt_at"], f"no {number}")
    [lease] = claimed(tasks, wait_s=5)
    assert (lease["attempt"], lease["max_attempts"]) == (4, 4)
    last = tasks.fail(lease, "no 4")
    assert accepted(last) == {"id": task["id"], "task_id": task["id"], "status": "failed", "next_attempt_at": None}
    two_workers.logs.expect(last, "platform.task.failed", task_id=task["id"], attempt=4, reason="reported")
    after = seen(tasks, task["id"])
    assert [(one["outcome"], one["error"]) for one in after["attempts"]] == [
        ("failed", f"no {n}") for n in (1, 2, 3, 4)
    ]
    assert after["next_attempt_at"] is None
    begun = [when(one["started_at"]) for one in after["attempts"]]
    assert all(start >= moment for start, moment in zip(begun[1:], due, strict=True)), "before its time"
    assert history(zone, task["id"]) == ["submitted", *["claimed", "retried"] * 3, "claimed", "failed"]

    once = leased(tasks)
    assert accepted(tasks.fail(once, retryable=False))["status"] == "failed"

    def submit() -> Any:
        return tasks.submit(idempotency_key="one", payload={"page": 1})

    answers = race(two_workers, [submit] * 50)
    assert sorted(answer.status for answer in answers) == [200] * 49 + [201]
    [task_id] = {answer.json()["id"] for answer in answers}
    assert history(zone, task_id) == ["submitted"]
    assert zone.usage()["max_tasks_queued"] == 1


@case("scheduler/003", "claimTasks 200")
def test_the_high_come_first(zone: Zone, platform: Platform) -> None:
    """Tasks are claimed by priority, those of one by age; one that is older by a tier's time overtakes (004)."""
    tasks = Tasks(zone)
    ids = {name: [submitted(tasks, priority=name)["id"] for _ in range(3)] for name in reversed(PRIORITIES)}
    wanted = [task_id for name in PRIORITIES for task_id in ids[name]]
    aged(platform, ids["low"][2], 61)  # before every normal one, and behind what is high
    wanted.remove(ids["low"][2])
    wanted.insert(6, ids["low"][2])
    got = [lease["id"] for limit in (4, 2, 1, 100) for lease in claimed(tasks, limit=limit)]
    assert got == wanted


@case("scheduler/004", "cancelTask 200", "heartbeatTask 200", "failTask 200", "completeTask 409", "heartbeatTask 409")
def test_a_task_is_stopped(zone: Zone, platform: Platform, system: System) -> None:
    """A queued task is never claimed again; a running one learns of it and stops, or its lease is its end (004)."""
    tasks = Tasks(zone)
    queued = submitted(tasks)
    answer = tasks.cancel(queued["id"])
    told = {"cancelled": True, "cancel_requested": True, "task_id": queued["id"], "status": "cancelled"}
    assert accepted(answer) == told
    system.logs.expect(answer, "platform.task.cancelled", task_id=queued["id"])
    assert accepted(tasks.cancel(queued["id"])) == told
    assert claimed(tasks) == []
    assert history(zone, queued["id"]) == ["submitted", "cancelled"]

    running, silent, done = (leased(tasks, max_attempts=9) for _ in range(3))
    for lease in (running, silent, done):
        assert not accepted(tasks.heartbeat(lease))["cancel_requested"]
        before = system.db.value("select lease_until from tasks where task_id = %s", lease["id"])
        answer = tasks.cancel(lease["id"])
        told = {"cancelled": False, "cancel_requested": True, "task_id": lease["id"], "status": "running"}
        assert accepted(answer) == told
        system.logs.expect(answer, "platform.task.cancel_requested", task_id=lease["id"])
        with platform.unchanged():
            assert accepted(tasks.cancel(lease["id"])) == told
        beat = accepted(tasks.heartbeat(lease))
        assert beat["cancel_requested"]
        assert when(beat["lease_until"]) == before.timestamp(), "a heartbeat has kept it"
    assert accepted(tasks.fail(running, "stopped", cancelled=True))["status"] == "cancelled"
    assert seen(tasks, running["id"])["attempts"][0]["outcome"] == "cancelled"
    assert accepted(tasks.complete(done))["status"] == "completed"
    end_lease(platform, silent["id"])
    refused(tasks.complete(silent), 409, "lease_lost")
    refused(tasks.heartbeat(silent), 409, "lease_lost")
    eventually(lambda: seen(tasks, silent["id"])["status"] == "cancelled", within_s=5.0)
    system.logs.wait("platform.task.cancelled", task_id=silent["id"], reason="lease_expired")
    for lease in (running, silent):
        assert history(zone, lease["id"]) == ["submitted", "claimed", "cancelled"]
    for state in ("completed", "failed"):
        task_id = brought_to(state, tasks)["id"]
        told = {"cancelled": False, "cancel_requested": False, "task_id": task_id, "status": state}
        assert accepted(tasks.cancel(task_id)) == told
    assert claimed(tasks, limit=100) == []
    assert zone.usage()["max_tasks_queued"] == 0


@case("scheduler/005")
def test_two_claimers_share_a_queue(two_workers: System, platform_of_two: Platform) -> None:
    """Two claimers on 1,000 tasks in two workers: none is given out twice, and each sees them in their order (004)."""
    platform = platform_of_two
    zone = platform.zone()
    platform.write(INSERTED, zone=zone.zone_id, count=MANY)
    platform.write("update zones set tasks_queued = %(count)s where zone_id = %(zone)s", zone=zone.zone_id, count=MANY)

    def claim_all(tasks: Tasks) -> list[int]:
        got: list[int] = []
        while batch := claimed(tasks, limit=20):
            got += [lease["payload"]["n"] for lease in batch]
        return got

    with platform.apart(zone) as apart, both(two_workers), ThreadPoolExecutor(2) as pool:
        both_got = [one.result() for one in [pool.submit(partial(claim_all, Tasks(apart))) for _ in range(2)]]
    order = {n: place for place, n in enumerate(sorted(range(1, MANY + 1), key=lambda n: (n % 5, n)))}
    for got in both_got:
        assert [order[n] for n in got] == sorted(order[n] for n in got)
    assert sorted(both_got[0] + both_got[1]) == list(range(1, MANY + 1))
    assert zone.usage()["max_tasks_queued"] == 0
    numbers = [event["sequence_number"] for event in zone.log()]
    assert numbers == list(range(1, MANY + 2))
