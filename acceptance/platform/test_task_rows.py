"""The rows of tasks: what the database refuses to every writer."""

import pytest

from acceptance.platform.tasks import leased
from acceptance.platform.test_zone_rows import NAMES, refused_by
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.match import accepted
from acceptance.system.roles import as_owner
from acceptance.system.system import System
from harness.platform.tasks import Tasks
from harness.platform.zone import Zone

MINE = "where zone_id = %(zone)s"
FREE = "lease_token = null, lease_until = null"
OVER = f"{FREE}, completed_at = now()"
COPY = """
    insert into tasks (zone_id, task_id, owner, executor, task_type, payload, tier, request_state, enqueued_at, due_at,
        rank, max_attempts, backoff_base_s, backoff_cap_s, idempotency_key, body_hash)
    select zone_id, {}, owner, executor, task_type, payload, tier, request_state, enqueued_at, due_at, rank,
        max_attempts, backoff_base_s, backoff_cap_s, idempotency_key, body_hash from tasks where zone_id = %(zone)s
"""
# By constraint, statements of which it refuses the last. There is one task, in its second attempt.
REFUSED = {
    "pk_tasks": COPY.format("task_id"),
    "fk_tasks_zone_id": f"delete from events {MINE}; delete from zones {MINE}",
    "uq_tasks_idempotency_key": COPY.format("gen_random_uuid()"),
    "ck_tasks_status": f"update tasks set status = 'other', {OVER} {MINE}",
    "ck_tasks_request_state": f"update tasks set request_state = 'other' {MINE}",
    "ck_tasks_tier": f"update tasks set tier = 5 {MINE}",
    "ck_tasks_payload": f"update tasks set payload = repeat('x', 65537) {MINE}",
    "ck_tasks_idempotency_key_has_hash": f"update tasks set body_hash = null {MINE}",
    "ck_tasks_body_hash": f"update tasks set body_hash = 'a' {MINE}",
    "ck_tasks_attempt": f"update tasks set attempt = 3 {MINE}",
    "ck_tasks_queued_has_attempts_left": f"update tasks set status = 'queued', {FREE} {MINE}",
    "ck_tasks_running_has_lease": f"update tasks set lease_token = null {MINE}",
    "ck_tasks_ended_has_time": f"update tasks set completed_at = now() {MINE}",
    "ck_tasks_result_is_of_completed": f"update tasks set result = 'null' {MINE}",
    "ck_tasks_cancelled_stays": f"update tasks set cancel_requested = true, status = 'failed', {OVER} {MINE}",
    "pk_task_attempts": f"update task_attempts set number = 1 {MINE}",
    "fk_task_attempts_task_id": f"update task_attempts set task_id = gen_random_uuid() {MINE}",
    "ck_task_attempts_number": f"update task_attempts set number = 0 {MINE} and number = 1",
    "ck_task_attempts_outcome": f"update task_attempts set outcome = 'other' {MINE} and number = 1",
    "ck_task_attempts_ended_has_outcome": f"update task_attempts set outcome = null {MINE} and number = 1",
    "uq_task_attempts_open": f"update task_attempts set outcome = null, ended_at = null {MINE}",
}


@pytest.fixture
def filled(zone: Zone) -> Zone:
    tasks = Tasks(zone)
    lease = leased(tasks, max_attempts=2, backoff_base_s=0, idempotency_key="k")
    accepted(tasks.fail(lease))
    accepted(tasks.claim())
    return zone


@case("task-rows/001")
def test_the_database_refuses_what_cannot_be(system: System, platform: Platform, filled: Zone) -> None:
    """Each constraint of the tables of tasks refuses a change that breaks it, to every role (platform.md)."""
    with as_owner(system) as owner, platform.unchanged():
        for name, statements in REFUSED.items():
            assert refused_by(owner, statements.split(";"), filled.zone_id) == name
        there = owner.execute(NAMES, [["tasks", "task_attempts"]]).fetchall()
    assert {name for (name,) in there} == REFUSED.keys() - {"uq_task_attempts_open"}, "which is an index"
