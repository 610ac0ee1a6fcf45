"""Executors, the service and its database end while 1,000 tasks are done: none is lost, none is done twice."""

import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from acceptance.chaos.assertions import some_in_the_sample
from acceptance.platform.tailing import database_killed
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import web_processes
from harness.http.client import TransportError
from harness.platform.tasks import Tasks
from harness.platform.zone import Zone
from harness.processes.child import Child, bare_environment
from harness.verdict.artifacts import ROOT
from harness.waiting import eventually

TASKS, EXECUTORS = 1000, 4
MOST_ATTEMPTS = 25  # a task that is hit by each kill is tried again
# docs/executor.py with a short lease, whose work is a line in a journal: which attempt at which task it was.
PROGRAM = """
import os, sys
docs, journal, name = sys.argv[1:]
sys.path.insert(0, docs)
import executor
executor.LEASE_S, executor.WAIT_S, executor.PAUSE_S = 5, 1, 0.2
file = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def run(task, stop):
    os.write(file, f"{task['id']} {task['attempt']}\\n".encode())
    return {}
executor.run = run
executor.Executor(os.environ["NEXUS_URL"], os.environ["NEXUS_API_KEY"], name).work()
"""
COMPLETED = "select count(*) from tasks where zone_id = %s and status = 'completed'"
ATTEMPTS = "select task_id::text, number, outcome from task_attempts where zone_id = %s order by task_id, number"


class Executors:
    """Processes that work through the tasks of a zone."""

    def __init__(self, system: System, zone: Zone, journal: Path) -> None:
        self._command = [sys.executable, "-c", PROGRAM, str(ROOT / "docs"), str(journal), "worker"]
        self._env = bare_environment({"NEXUS_URL": system.target.base_url, "NEXUS_API_KEY": zone.key})
        self._children = [self._start() for _ in range(EXECUTORS)]

    def _start(self) -> Child:
        return Child(self._command, env=self._env)

    def kill_one(self) -> None:
        """kill -9 of one of them, and another one comes."""
        place = random.randrange(EXECUTORS)
        assert self._children[place].poll() is None, "an executor has ended by itself"
        self._children[place].stop(5.0, first=signal.SIGKILL)
        self._children[place] = self._start()

    def close(self) -> None:
        """End them all."""
        for child in self._children:
            child.stop(5.0)


def submit_each(tasks: Tasks, count: int) -> set[str]:
    """The ids of so many tasks; one whose answer is none is submitted again, under the same key."""
    return {submit_until_it_is(tasks, number) for number in range(count)}


def submit_until_it_is(tasks: Tasks, number: int) -> str:
    def acknowledged() -> str:
        try:
            answer = tasks.submit(idempotency_key=str(number), max_attempts=MOST_ATTEMPTS, backoff_base_s=0)
        except TransportError:
            return ""
        if answer.status == 503:
            return ""
        if answer.status not in (200, 201):
            raise ValueError(f"expected a task, got {answer.status}: {answer.body[:500]!r}")
        return str(answer.json()["id"])

    return eventually(acknowledged, within_s=30.0, what="a task that is acknowledged")


def kill_executor(_: System, running: Executors) -> None:
    running.kill_one()


def kill_worker(system: System, _: Executors) -> None:
    os.kill(random.choice(web_processes(system)), signal.SIGKILL)


def kill_database(system: System, _: Executors) -> None:
    database_killed(system)


KILLED: dict[str, tuple[Callable[[System, Executors], None], int]] = {
    "executor": (kill_executor, 20),
    "worker": (kill_worker, 20),
    "database": (kill_database, 10),
}


@case("chaos/028")
@pytest.mark.parametrize("name", some_in_the_sample(KILLED, "executor"))
def test_a_kill_while_tasks_are_done(
    name: str, fresh_backend: FreshBackend, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """kill -9 of executors, workers or the database: each task is done, once, and each attempt counted (004)."""
    kill, times = KILLED[name]
    times = 3 if pytestconfig.option.sample else times
    system = fresh_backend(workers=2, own_postgres=name == "database")
    platform, journal = Platform(system), tmp_path / "journal"
    mine = platform.zone()

    def reaches(completed: int) -> None:
        enough = f"{completed} tasks that are completed"
        eventually(lambda: system.db.value(COMPLETED, mine.zone_id) >= completed, within_s=40.0, what=enough)

    with platform.apart(mine) as zone, ThreadPoolExecutor(1) as beside:
        submitting = beside.submit(submit_each, Tasks(zone), TASKS)
        with closing(Executors(system, zone, journal)) as running:
            for number in range(times):
                reaches((number + 1) * TASKS // (times + 1))
                kill(system, running)
            submitted = submitting.result()
            reaches(TASKS)
    assert len(submitted) == TASKS
    attempts = done_once(system, mine, submitted, [line.split() for line in journal.read_text().splitlines()])
    assert name != "executor" or attempts > TASKS, "no lease was left by a kill"


def done_once(system: System, zone: Zone, submitted: set[str], ran: list[list[str]]) -> int:
    """Every task is completed by the last of its attempts, which its log counts: how many all tasks had.

    ran: task and attempt of each run.
    """
    attempts = system.db.rows(ATTEMPTS, zone.zone_id)
    outcomes: dict[str, list[str]] = {task: [] for task in submitted}
    for row in attempts:
        outcomes[row["task_id"]].append(row["outcome"])
        assert row["number"] == len(outcomes[row["task_id"]]), "an attempt was not counted"
    for task, ends in outcomes.items():
        assert ends == ["expired"] * (len(ends) - 1) + ["completed"], f"{task}: {ends}"
    told = Counter((event["type"], event["path"]) for event in zone.log() if event["type"].startswith("task."))
    wanted = Counter[tuple[str, str]]()
    for task, ends in outcomes.items():
        wanted.update({("task.submitted", task): 1, ("task.claimed", task): len(ends), ("task.completed", task): 1})
        wanted[("task.retried", task)] = len(ends) - 1
    assert told == wanted
    runs = {(task, int(number)) for task, number in ran}
    assert len(ran) == len(runs), "an attempt was given out twice"
    assert {(task, len(ends)) for task, ends in outcomes.items()} <= runs, "completed without a run"
    return len(attempts)
