"""Tasks of a zone as cases use them: submitted and claimed where that has to succeed, brought to a state, aged.

What is leased here stays leased for longer than a run: nothing of it ends in another case.
"""

from typing import Any

from acceptance.platform.zones import Platform
from acceptance.system.match import accepted
from harness.platform.tasks import Tasks
from harness.platform.zone import Zone

STATES = ("queued", "running", "completed", "failed", "cancelled")
NO_PAUSE = {"backoff_base_s": 0}
_AGED = """
    update tasks set due_at = due_at - %(s)s * interval '1 s', rank = rank - %(s)s * interval '1 s'
    where task_id = %(task)s
"""
_LEASE_ENDS = "update tasks set lease_until = clock_timestamp() where task_id = %(task)s"


def submitted(tasks: Tasks, **fields: Any) -> dict[str, Any]:
    """A new task."""
    task: dict[str, Any] = accepted(tasks.submit(**fields), 201)
    return task


def claimed(tasks: Tasks, **fields: Any) -> list[dict[str, Any]]:
    """What a claim gives out."""
    given: list[dict[str, Any]] = accepted(tasks.claim(**fields))["tasks"]
    return given


def leased(tasks: Tasks, **fields: Any) -> dict[str, Any]:
    """A new task that is leased, as its claim has given it out. fields: of the task."""
    task = submitted(tasks, **fields)
    [lease] = claimed(tasks, executor=task["executor_id"])
    assert lease["id"] == task["id"]
    return lease


def brought_to(state: str, tasks: Tasks) -> dict[str, Any]:
    """A task in this state, as a claim has given it out, or as it was submitted."""
    if state in ("queued", "cancelled"):
        task = submitted(tasks, executor=f"of-{state}")
        if state == "cancelled":
            accepted(tasks.cancel(task["id"]))
        return task
    lease = leased(tasks, executor=f"of-{state}")
    if state == "completed":
        accepted(tasks.complete(lease))
    if state == "failed":
        accepted(tasks.fail(lease, retryable=False))
    return lease


def seen(tasks: Tasks, task_id: str) -> dict[str, Any]:
    """The task."""
    task: dict[str, Any] = accepted(tasks.look(task_id))
    return task


def history(zone: Zone, task_id: str) -> list[str]:
    """The types of the task's events, in their order."""
    return [event["type"].removeprefix("task.") for event in zone.log(path_prefix=task_id)]


def aged(platform: Platform, task_id: str, by_s: float) -> None:
    """Let the task have been submitted earlier."""
    platform.write(_AGED, task=task_id, s=by_s)


def end_lease(platform: Platform, task_id: str) -> None:
    """Let the lease of the task end now, as if its time was over."""
    platform.write(_LEASE_ENDS, task=task_id)
