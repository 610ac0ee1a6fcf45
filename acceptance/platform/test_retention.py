"""What the platform forgets of what is over, and what it keeps however old it is."""

from pathlib import Path

import pytest

from acceptance.platform.sync import Mount
from acceptance.platform.tasks import STATES, brought_to, claimed, submitted
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.match import accepted, refused
from harness.platform.tasks import Tasks
from harness.platform.zone import SYNC, Zone

AGE_TASKS = """
    update tasks set enqueued_at = enqueued_at - age, completed_at = completed_at - age
    from make_interval(days => %(days)s) as age where task_id = any(%(tasks)s::uuid[])
"""
AGE_RUNS = """
    update mount_runs set started_at = started_at - age, finished_at = finished_at - age
    from make_interval(days => %(days)s) as age where run_id = %(run)s
"""
AGE_CONFLICTS = """
    update mount_conflicts set created_at = created_at - age, resolved_at = resolved_at - age
    from make_interval(days => %(days)s) as age where conflict_id = any(%(conflicts)s::uuid[])
"""


@case("platform-retention/001", "getTask 404", "submitTask 201", "claimTasks 200")
def test_tasks_are_kept_for_thirty_days(zone: Zone, platform: Platform) -> None:
    """Tasks that ended 30 days ago go with attempts and key; of 29 days stay, and what waits or runs (platform.md)."""
    tasks = Tasks(zone)
    platform.system.has_forgotten("tasks")
    old, young = ({state: brought_to(state, tasks)["id"] for state in STATES} for _ in range(2))
    keyed = submitted(tasks, idempotency_key="k", executor="keyed")
    [lease] = claimed(tasks, executor="keyed")
    accepted(tasks.complete(lease))
    for aged, days in (([*old.values(), keyed["id"]], 31), (list(young.values()), 29)):
        platform.write(AGE_TASKS, tasks=aged, days=days)
    assert platform.system.forgets()["tasks"] == 4
    for state, task_id in old.items():
        if state in ("queued", "running"):
            assert accepted(tasks.look(task_id))["status"] == state
        else:
            refused(tasks.look(task_id), 404, "task_not_found")
    assert [accepted(tasks.look(task_id))["status"] for task_id in young.values()] == list(STATES)
    assert submitted(tasks, idempotency_key="k")["id"] != keyed["id"]
    left = "select count(*) from task_attempts where task_id::text = %s"
    assert [platform.system.db.value(left, one["completed"]) for one in (old, young)] == [0, 1]


@pytest.mark.sync
@case("platform-retention/002", "listSyncRuns 200", "listConflicts 200", "getConflict 404")
def test_runs_and_conflicts_are_kept_for_thirty_days(zone: Zone, platform: Platform, tmp_path: Path) -> None:
    """Runs and resolved conflicts that ended 30 days ago go; those of 29 days stay, and what is open (platform.md)."""
    platform.system.has_forgotten("sync")
    mount = Mount(platform, zone, tmp_path / "data")
    old, young, unresolved = (mount.in_conflict(path) for path in ("old", "young", "open"))
    for conflict in (old, young):
        accepted(mount.resolve(conflict, "keep_remote"))
    runs = [run["run_id"] for run in accepted(zone.request("GET", f"{SYNC}/runs"))["items"]]
    platform.write(AGE_CONFLICTS, conflicts=[one["conflict_id"] for one in (old, unresolved)], days=31)
    platform.write(AGE_CONFLICTS, conflicts=[young["conflict_id"]], days=29)
    platform.write(AGE_RUNS, run=runs[-1], days=31)
    platform.write(AGE_RUNS, run=runs[-2], days=29)
    assert platform.system.forgets()["sync"] == 2
    assert [run["run_id"] for run in accepted(zone.request("GET", f"{SYNC}/runs"))["items"]] == runs[:-1]
    refused(zone.request("GET", f"{SYNC}/conflicts/{old['conflict_id']}"), 404, "conflict_not_found")
    kept = accepted(zone.request("GET", f"{SYNC}/conflicts"))["items"]
    assert {one["conflict_id"] for one in kept} == {one["conflict_id"] for one in (young, unresolved)}
    assert mount.pushed()[3] == 1, "the open one still holds its path"
