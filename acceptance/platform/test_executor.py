"""The executor of the documentation: it runs tasks, learns that one is cancelled, and finishes before it ends."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from acceptance.platform.tasks import history, seen, submitted
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from harness.platform.tasks import Tasks
from harness.platform.zone import Zone
from harness.processes.child import Child, bare_environment
from harness.verdict.artifacts import ROOT
from harness.waiting import eventually

EXECUTOR = ROOT / "docs" / "executor.py"


@contextmanager
def working(platform: Platform, zone: Zone, name: str = "worker") -> Iterator[Child]:
    """An executor that runs during the block."""
    env = bare_environment({"NEXUS_URL": platform.system.target.base_url, "NEXUS_API_KEY": zone.key})
    child = Child([sys.executable, str(EXECUTOR), name], env=env)
    try:
        yield child
    finally:
        child.stop(1.0)


def comes_to(tasks: Tasks, task: dict[str, Any], status: str, within_s: float = 10.0) -> None:
    """Return when the task is in this state."""
    eventually(lambda: seen(tasks, task["id"])["status"] == status, within_s, what=f"a task that is {status}")


@case("executor/001", slow="starts executors, and waits for a heartbeat of theirs")
def test_the_executor_of_the_documentation(platform: Platform, zone: Zone) -> None:
    """docs/executor.py completes, fails, stops what is cancelled, and ends after what it runs (issue 18)."""
    tasks = Tasks(zone)
    with platform.apart(zone) as apart:
        beside = Tasks(apart)  # what the executor asks for is in no list of this case
        done = submitted(tasks, payload={"a": 1})
        failing = submitted(tasks, payload={"error": "no"}, max_attempts=2, backoff_base_s=0)
        with working(platform, zone) as child:
            comes_to(beside, done, "completed", within_s=20.0)
            comes_to(beside, failing, "failed")
            assert seen(tasks, done["id"])["result"] == {"echo": {"a": 1}}
            assert [one["error"] for one in seen(tasks, failing["id"])["attempts"]] == ["no", "no"]
            endless = submitted(tasks, payload={"seconds": 600})
            comes_to(beside, endless, "running")
            tasks.cancel(endless["id"])
            comes_to(beside, endless, "cancelled", within_s=15.0)
            assert seen(tasks, endless["id"])["attempts"][0]["outcome"] == "cancelled"
            last = submitted(tasks, payload={"seconds": 2})
            comes_to(beside, last, "running")
            later = submitted(tasks)
            assert child.stop(20.0) == 0
        assert history(zone, last["id"]) == ["submitted", "claimed", "completed"]
        assert history(zone, later["id"]) == ["submitted"], "it was to claim no more"
