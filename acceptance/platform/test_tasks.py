"""Tasks as their owner has them: once per key, due later, in time or not at all, seen by nobody else, counted."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from acceptance.access.requests import UNKNOWN
from acceptance.platform.tasks import STATES, aged, brought_to, claimed, end_lease, history, leased, seen, submitted
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.system import System
from harness.platform.tasks import SCHEDULER, Tasks
from harness.platform.zone import ZONES, Zone
from harness.waiting import eventually

PRIORITIES = {"critical": "interactive", "high": "interactive", "normal": "batch", "low": "background"}
CLASSES = {**PRIORITIES, "best_effort": "background"}
REQUEST_STATES = ("pending", "queued", "compute", "running", "io_wait", "completed", "failed", "cancelled")


def in_s(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@pytest.fixture
def tasks(zone: Zone) -> Tasks:
    """The tasks of a fresh zone, as a member of it has them."""
    return Tasks(zone)


@case("tasks/001", "submitTask 200", "submitTask 409", "submitTask 201")
def test_a_key_stands_for_one_task(tasks: Tasks, platform: Platform) -> None:
    """A repeat gets the first task as it is, another body a 409; the key of another owner is another one (api)."""
    body: dict[str, Any] = {"payload": {"a": 1, "b": 2}, "idempotency_key": "k", "deadline": in_s(3600)}
    first = submitted(tasks, **body)
    with platform.unchanged():
        assert accepted(tasks.submit(**body | {"payload": {"b": 2, "a": 1}})) == first
        for other in ({"payload": {"a": 1}}, {"priority": "low"}, {"executor": "x"}, {"deadline": in_s(60)}):
            refused(tasks.submit(**body | other), 409, "idempotency_conflict")
    other_owner = submitted(Tasks(platform.agent(tasks.zone.zone_id, "planner")), **body)
    assert other_owner["id"] != first["id"]
    [lease] = [one for one in claimed(tasks, limit=2) if one["id"] == first["id"]]
    accepted(tasks.complete(lease))
    assert accepted(tasks.submit(**body)) == seen(tasks, first["id"])
    assert claimed(tasks) == []
    platform.write("update zones set max_tasks_queued = 0 where zone_id = %(zone)s", zone=tasks.zone.zone_id)
    assert accepted(tasks.submit(**body))["status"] == "completed", "a repeat adds nothing"


@case("tasks/002", "submitTask 201", "claimTasks 200")
def test_a_task_of_later(tasks: Tasks, platform: Platform) -> None:
    """Until `not_before` a task is queued and not claimed, whatever its priority; then it has its place (api)."""
    far = submitted(tasks, priority="critical", not_before="2999-01-01T00:00:00+01:00")
    assert far["not_before"] == far["next_attempt_at"] == "2998-12-31T23:00:00Z"
    later = submitted(tasks, priority="critical", not_before=in_s(60))
    now = submitted(tasks, not_before="2000-01-01T00:00:00Z", priority="low")
    assert [one["id"] for one in claimed(tasks, limit=10)] == [now["id"]]
    platform.write("update tasks set due_at = now(), rank = now() where task_id = %(task)s", task=later["id"])
    assert [one["id"] for one in claimed(tasks, limit=10)] == [later["id"]]


@case("tasks/003", "getTask 200", "failTask 200")
def test_a_deadline(tasks: Tasks, platform: Platform, system: System) -> None:
    """A task that nobody claims in time fails; no lease reaches beyond a deadline, and nothing is tried after (api)."""
    with system.metrics.moves({'nexmdm_platform_tasks_total{event="task.failed"}': 1}):
        late = submitted(tasks, deadline="2020-01-01T00:00:00Z")
        assert claimed(tasks) == []
        eventually(lambda: seen(tasks, late["id"])["status"] == "failed", within_s=5.0)
    shown = seen(tasks, late["id"])
    assert (shown["error_message"], shown["attempts"], shown["started_at"]) == ("deadline_exceeded", [], None)
    system.logs.wait("platform.task.failed", task_id=late["id"], reason="deadline_exceeded", attempt=0)
    assert history(tasks.zone, late["id"]) == ["submitted", "failed"]
    assert tasks.zone.usage()["max_tasks_queued"] == 0
    deadline = in_s(600)
    lease = leased(tasks, deadline=deadline)
    until = datetime.fromisoformat(lease["lease_until"])
    assert until == datetime.fromisoformat(deadline)
    kept = accepted(tasks.heartbeat(lease))["lease_until"]
    assert datetime.fromisoformat(kept) == until
    platform.write("update tasks set deadline = now() where task_id = %(task)s", task=lease["id"])
    assert accepted(tasks.fail(lease, "late"))["status"] == "failed"
    shown = seen(tasks, lease["id"])
    assert (shown["error_message"], shown["attempts"][0]["error"]) == ("deadline_exceeded", "late")


@case("tasks/004", "getTask 404", "cancelTask 200", "cancelTask 422")
def test_a_task_is_its_owner_s(tasks: Tasks, platform: Platform) -> None:
    """Nobody but its owner and an admin sees or cancels a task; what is no id is a 404, or nothing to cancel (api)."""
    zone_id = tasks.zone.zone_id
    task = submitted(tasks)
    mine = submitted(Tasks(platform.agent(zone_id, "planner")))
    as_planner = Zone(platform.system.api, platform.admin_key, zone_id, headers=[
        ("X-Nexus-Zone-ID", zone_id), ("X-Agent-Id", "planner")])  # fmt: skip
    strangers = [platform.member(zone_id), platform.agent(zone_id, "other"), platform.zone(), as_planner]
    strangers.append(platform.as_admin(platform.zone().zone_id))
    with platform.unchanged():
        for stranger in strangers:
            refused(Tasks(stranger).look(task["id"]), 404, "task_not_found")
            told = {"cancelled": False, "cancel_requested": False, "task_id": task["id"], "status": None}
            assert accepted(Tasks(stranger).cancel(task["id"])) == told
        for wrong in (UNKNOWN, "x", task["id"].upper(), "%00", "%C3%BC"):
            refused(tasks.look(wrong), 404, "task_not_found")
            assert not accepted(tasks.cancel(wrong))["cancelled"]
        refused(tasks.cancel("x" * 129), 422, "validation_error")
        assert seen(Tasks(as_planner), mine["id"]) == mine
        assert seen(Tasks(platform.as_admin(zone_id)), task["id"]) == task
    assert accepted(Tasks(as_planner).cancel(mine["id"]))["cancelled"]
    assert accepted(Tasks(platform.as_admin(zone_id)).cancel(task["id"]))["cancelled"]


WRONG: dict[str, list[dict[str, Any]]] = {
    "/body/executor": [{"executor": ""}, {"executor": "a b"}, {"executor": "x" * 129}],
    "/body/task_type": [{"task_type": ""}, {"task_type": "a\nb"}, {"task_type": "x" * 129}],
    "/body/payload": [
        {"payload": []}, {"payload": None}, {"payload": {str(n): 1 for n in range(257)}},
        {"payload": {"x" * 257: 1}},
    ],
    "/body/priority": [{"priority": "urgent"}, {"priority": 1}],
    "/body/request_state": [{"request_state": "unknown"}],
    "/body/deadline": [{"deadline": "tomorrow"}, {"deadline": "2026-13-01T00:00:00Z"}, {"deadline": None}],
    "/body/not_before": [{"not_before": 1}],
    "/body/idempotency_key": [{"idempotency_key": ""}, {"idempotency_key": "x" * 256}, {"idempotency_key": "a b"}],
    "/body/max_attempts": [{"max_attempts": 0}, {"max_attempts": 26}, {"max_attempts": "3"}],
    "/body/backoff_base_s": [{"backoff_base_s": -1}, {"backoff_base_s": 86_401}],
    "/body/backoff_cap_s": [{"backoff_cap_s": -0.1}],
    "/body": [{"unknown": 1}],
}  # fmt: skip


@case("tasks/005", "submitTask 422", "submitTask 400", "submitTask 413")
def test_bodies_that_are_refused(tasks: Tasks, platform: Platform) -> None:
    """What is outside the bounds is a 422 that points at it; what is no finite JSON, or too long, is refused (api)."""
    with platform.unchanged():
        for pointer, bodies in WRONG.items():
            for body in bodies:
                assert pointers(refused(tasks.submit(**body), 422, "validation_error")) == {pointer}, body
        whole = b'{"executor": "a", "task_type": "b", "payload": {"x": %s}}'
        grows = b"[" + b"1e15," * 4000 + b"1]"  # in the form that is kept
        wrong = ((b"NaN", 400, "malformed_json"), (b"1e999", 422, "validation_error"), (grows, 422, "validation_error"))
        for number, status, code in wrong:
            as_json = [("Content-Type", "application/json")]
            answer = tasks.zone.request("POST", f"{SCHEDULER}/submit", headers=as_json, content=whole % number)
            refused(answer, status, code)
        refused(tasks.submit(payload={"x": "y" * 65_536}), 413, "payload_too_large")
    large = {"x": "y" * 65_000, "big": 2**200}
    assert submitted(tasks, payload=large)["payload"] == large
    assert claimed(tasks)[0]["payload"] == large


@case("tasks/006", "classifyTask 200", "classifyTask 422")
def test_the_class_of_a_priority(tasks: Tasks, platform: Platform) -> None:
    """Each priority has its class; what waits for its input is batch at least; anything else is a 422 (api)."""
    with platform.unchanged():
        for (priority, wanted), state in product(CLASSES.items(), REQUEST_STATES):
            lifted = "batch" if (wanted, state) == ("background", "io_wait") else wanted
            assert accepted(tasks.classify(priority=priority, request_state=state)) == {"priority_class": lifted}
        assert accepted(tasks.classify()) == {"priority_class": "batch"}
        refused(tasks.classify(priority="urgent"), 422, "validation_error")
        refused(tasks.classify(request_state="asleep"), 422, "validation_error")
    assert submitted(tasks, priority="low", request_state="io_wait")["priority_class"] == "batch"


@case("tasks/007", "submitTask 413", "submitTask 201", "updateZone 200")
def test_a_queue_that_is_full(platform: Platform, system: System) -> None:
    """At `max_tasks_queued` a submission is refused; a claim or a cancel makes room; a retry is never refused (api)."""
    zone = platform.zone(limits={"max_tasks_queued": 2})
    tasks = Tasks(zone)
    lease = leased(tasks, backoff_base_s=0)
    expiring = leased(tasks, backoff_base_s=0)
    first, second = submitted(tasks), submitted(tasks)
    with platform.unchanged():
        assert refused(tasks.submit(), 413, "quota_exceeded")["limit"] == "max_tasks_queued"
    assert accepted(tasks.fail(lease))["status"] == "queued"
    end_lease(platform, expiring["id"])
    eventually(lambda: zone.usage()["max_tasks_queued"] == 4, within_s=5.0)
    for task in (first, second):
        assert accepted(tasks.cancel(task["id"]))["cancelled"]
    with platform.unchanged():
        refused(tasks.submit(), 413, "quota_exceeded")
    assert len(claimed(tasks, limit=1)) == 1
    submitted(tasks)
    accepted(platform.admin("PATCH", f"{ZONES}/{zone.zone_id}", json={"limits": {"max_tasks_queued": 0}}))
    assert len(claimed(tasks, limit=100)) == 2
    assert zone.usage()["max_tasks_queued"] == 0
    counted = "select count(*) from tasks where zone_id = %s and status = 'queued'"
    assert system.db.value(counted, zone.zone_id) == 0


@case("tasks/008", "getSchedulerMetrics 200")
def test_the_figures_of_a_zone(tasks: Tasks, platform: Platform) -> None:
    """States, attempts and ended leases are counted, and how long what is due has waited, by class (api)."""
    nothing = accepted(tasks.metrics())
    assert [one["priority_class"] for one in nothing["queue_by_class"]] == ["interactive", "batch", "background"]
    assert {one["cnt"] for one in nothing["queue_by_class"]} == {0}
    assert (set(nothing["tasks_by_status"].values()), nothing["oldest_wait_s"]) == ({0}, 0)
    for state in STATES:
        brought_to(state, tasks)
    assert accepted(tasks.metrics())["expired_leases"] == 0
    expiring = leased(tasks, executor="of-expired", backoff_base_s=0)
    end_lease(platform, expiring["id"])
    eventually(lambda: accepted(tasks.metrics())["expired_leases"] == 1, within_s=5.0)
    for priority, by_s in (("high", 100), ("low", 10), ("best_effort", 30)):
        aged(platform, submitted(tasks, priority=priority)["id"], by_s)
    submitted(tasks, not_before=in_s(3600))
    submitted(Tasks(platform.agent(tasks.zone.zone_id, "planner")), priority="low", request_state="io_wait")
    submitted(Tasks(platform.zone()))
    shown = accepted(tasks.metrics())
    by_class = {one["priority_class"]: one for one in shown["queue_by_class"]}
    assert {name: one["cnt"] for name, one in by_class.items()} == {"interactive": 1, "batch": 3, "background": 2}
    assert 20 <= by_class["background"]["avg_wait"] < 25
    assert 30 <= by_class["background"]["max_wait"] < 35
    assert 100 <= shown["oldest_wait_s"] < 105
    assert shown["tasks_by_status"] == {"queued": 7, "running": 1, "completed": 1, "failed": 1, "cancelled": 1}
    assert (shown["attempts"], shown["expired_leases"]) == (4, 1)
