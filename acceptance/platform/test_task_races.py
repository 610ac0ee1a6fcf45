"""Tasks that several want at once, whose lease ends meanwhile, whose zone is deleted, whose service is killed."""

from collections import Counter
from functools import partial

from acceptance.platform.tasks import claimed, history, leased, seen, submitted
from acceptance.platform.test_zone_rows import meeting
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.locks import race_after
from acceptance.system.match import accepted, refused
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import background_process, frozen, race
from harness.http.client import Answer
from harness.platform.tasks import Tasks
from harness.platform.zone import ZONES
from harness.waiting import eventually

ROW_LOCK = "select from tasks where task_id = %s for update"
ATTEMPTS = "select number, outcome from task_attempts where task_id = %s order by number"


def codes(answers: list[Answer]) -> Counter[str]:
    return Counter("ok" if answer.status in (200, 201) else str(answer.json()["code"]) for answer in answers)


@case("task-races/001", "completeTask 409", "failTask 409")
def test_an_attempt_ends_once(two_workers: System, platform_of_two: Platform) -> None:
    """Of eight ends of one lease that meet in the row one is taken, the others are told that it is lost (platform)."""
    zone = platform_of_two.zone()
    tasks = Tasks(zone)
    lease = leased(tasks, backoff_base_s=3600)
    ends = [partial(tasks.complete, lease), partial(tasks.fail, lease)] * 4
    answers = race_after(two_workers, ends, ROW_LOCK, lease["id"])
    assert codes(answers) == {"ok": 1, "lease_lost": 7}
    [outcome] = two_workers.db.rows(ATTEMPTS, lease["id"])
    status = seen(tasks, lease["id"])["status"]
    assert (outcome["outcome"], status) in {("completed", "completed"), ("failed", "queued")}
    assert history(zone, lease["id"]) == ["submitted", "claimed", "completed" if status == "completed" else "retried"]
    assert zone.usage()["max_tasks_queued"] == int(status == "queued")


@case("task-races/002", "claimTasks 200", "cancelTask 200")
def test_a_claim_and_a_cancel_agree(two_workers: System, platform_of_two: Platform) -> None:
    """Of claims and cancels of the same tasks at once each task is given out at most once, or never (platform.md)."""
    zone = platform_of_two.zone()
    tasks = Tasks(zone)
    ids = [submitted(tasks)["id"] for _ in range(20)]
    claims = [partial(tasks.claim, limit=10) for _ in range(6)]
    answers = race(two_workers, claims + [partial(tasks.cancel, task_id) for task_id in ids[::2]])
    given = [lease["id"] for answer in answers[:6] for lease in accepted(answer)["tasks"]]
    given += [lease["id"] for lease in claimed(tasks, limit=100)]
    assert len(given) == len(set(given))
    for task_id, answer in zip(ids[::2], answers[6:], strict=True):
        told = accepted(answer)
        assert told["cancel_requested"]
        assert told["cancelled"] == (task_id not in given)
    assert set(given) >= set(ids[1::2])
    assert zone.usage()["max_tasks_queued"] == 0
    numbers = [event["sequence_number"] for event in zone.log()]
    assert numbers == list(range(1, len(numbers) + 1))


@case("task-races/003", "completeTask 409", "heartbeatTask 200")
def test_what_has_changed_while_one_waited(platform: Platform) -> None:
    """An end that waited until the lease was over is refused; a heartbeat moves no lease that was cancelled (api)."""
    zone = platform.zone()
    tasks = Tasks(zone)
    lease = leased(tasks)
    cancelled = "update tasks set cancel_requested = true where task_id = %s"
    before = lease["lease_until"]
    with meeting(platform, partial(tasks.heartbeat, lease), cancelled, lease["id"]) as (_, answers):
        pass
    assert accepted(answers[0]) == {"lease_until": before, "cancel_requested": True}
    over = "update tasks set lease_until = clock_timestamp() where task_id = %s"
    with frozen(background_process(platform.system)):
        with meeting(platform, partial(tasks.complete, lease), over, lease["id"]) as (_, answers):
            pass
        refused(answers[0], 409, "lease_lost")
        assert history(zone, lease["id"]) == ["submitted", "claimed"]
    eventually(lambda: seen(tasks, lease["id"])["status"] == "cancelled", within_s=5.0)


@case("task-races/004", "deleteZone 202", "heartbeatTask 409", "completeTask 409")
def test_a_zone_is_deleted_with_its_leases(platform: Platform, system: System) -> None:
    """A zone is deleted with tasks of every state and leases that run: no row is left, and no lease is good (004)."""
    zone = platform.zone()
    tasks = Tasks(zone)
    running = [leased(tasks) for _ in range(3)]
    accepted(tasks.fail(running[0], retryable=False))
    submitted(tasks, idempotency_key="k", deadline="2999-01-01T00:00:00Z")
    assert {"tasks", "task_attempts"} <= platform.rows(zone.zone_id).keys()
    with frozen(background_process(system)):
        accepted(platform.admin("DELETE", f"{ZONES}/{zone.zone_id}"), 202)
        with platform.unchanged():
            for call in (tasks.heartbeat, tasks.complete, tasks.fail):
                refused(call(running[1]), 409, "zone_terminating")
            refused(tasks.submit(), 409, "zone_terminating")
            refused(tasks.claim(), 409, "zone_terminating")
    platform.gone(zone.zone_id)
    assert platform.rows(zone.zone_id) == {}
    again = Tasks(platform.zone(zone.zone_id))
    assert claimed(again) == []
    refused(again.look(running[1]["id"]), 404, "task_not_found")
    submitted(again, idempotency_key="k")


@case("task-races/005", "completeTask 200", "claimTasks 200", slow="kills a backend")
def test_leases_outlive_the_service(fresh_backend: FreshBackend) -> None:
    """After kill -9 and a restart a lease is held, its end is still an end, the queue has its order (platform.md)."""
    system: System = fresh_backend(workers=2)
    platform = Platform(system)
    tasks = Tasks(platform.zone())
    held, lost = leased(tasks), leased(tasks, backoff_base_s=0)
    low, high = submitted(tasks, priority="low"), submitted(tasks, priority="high")
    system.loses_lines = True
    system.running.backend.kill(group=True)
    platform.write("update tasks set lease_until = clock_timestamp() where task_id = %(task)s", task=lost["id"])
    system.running.backend.restart()
    system.api.reconnect()
    accepted(tasks.heartbeat(held))
    assert accepted(tasks.complete(held))["status"] == "completed"
    eventually(lambda: seen(tasks, lost["id"])["status"] == "queued", within_s=5.0)
    assert [one["id"] for one in claimed(tasks, limit=9)] == [high["id"], lost["id"], low["id"]]
