"""Who fills the queue of a zone, first with a backlog in the wrong order of priorities; who reads its log."""

from __future__ import annotations

import random
from typing import Final

import gevent

from harness.http.client import Client
from harness.platform.tasks import SCHEDULER
from harness.platform.zone import EVENTS
from load.platform.agent import CREW
from load.platform.caller import Caller
from load.platform.run import ATTEMPTS, PlatformRun, Task, ZoneStory
from load.workloads.platform import PRIORITIES

# How many attempts fail, and whether for good: most tasks are done at once, some after a retry, a few never.
_FATES: Final = ((0, False), (1, False), (2, False), (ATTEMPTS, False), (1, True))
_WEIGHTS: Final = (70, 14, 4, 6, 6)
_BACKOFF: Final = {"max_attempts": ATTEMPTS, "backoff_base_s": 0.5, "backoff_cap_s": 1}
_LARGE: Final = "/shared/picture.bin"  # lies in the object store
WELCOME: Final = "/shared/welcome.txt"


class Planner:
    """By the key of the zone's member."""

    def __init__(self, run: PlatformRun, story: ZoneStory, client: Client, rng: random.Random) -> None:
        self._run, self._story, self._rng = run, story, rng
        self._caller = Caller(run, story, client, story.key)
        self._count = 0

    def prepare(self) -> None:
        """Files that each zone has at the same paths, and the backlog. Refused."""
        caller = self._caller
        caller.change("mkdir", "mkdir", "/shared", path="/shared")
        contents = {WELCOME: f"this is {self._story.name}", _LARGE: self._rng.randbytes(48 * 1024).hex()}
        for path, content in contents.items():
            self._story.files[path] = caller.change("write", "write", path, path=path, content=content)["etag"]
        backlog = [tier for tier in reversed(range(len(PRIORITIES))) for _ in range(self._run.scenario.backlog)]
        for order, tier in enumerate(backlog):
            self._submit(tier, order)

    def go_on(self, until: float) -> None:
        """Submit a task now and then. Refused, ZoneOver."""
        pause_s = 1.0 / self._run.scenario.tasks_per_s
        while self._run.clock.now() < until and self._story.ends_at is None:
            gevent.sleep(self._rng.uniform(0.5, 1.5) * pause_s)
            self._submit(self._rng.randrange(len(PRIORITIES)), None)

    def _submit(self, tier: int, order: int | None) -> None:
        """Every fifth is submitted twice, which makes no second task."""
        [(fails, final)] = self._rng.choices(_FATES, _WEIGHTS)
        self._count += 1
        task = Task(f"{self._story.name}-{self._count:03d}", self._story.name, tier, fails, final, order, 0.0)
        body = {
            "executor": CREW,
            "task_type": "demonstration",
            "payload": {"name": task.name},
            "priority": PRIORITIES[tier],
            "idempotency_key": f"{self._run.tag}-{task.name}",
            **_BACKOFF,
        }
        self._run.tasks[task.name] = task
        task.submitted_at = self._run.clock.now()
        for status in (201, 200) if self._count % 5 == 0 else (201,):
            told = self._caller.rest("submit", "POST", f"{SCHEDULER}/submit", status, json=body).json()["id"]
            if task.task_id not in ("", told):
                self._caller.fault("submit", "another task than before")
            task.task_id = told


def follow(run: PlatformRun, story: ZoneStory, client: Client) -> None:
    """Read the log of a zone while it grows, until it ends or this is killed. Refused, ZoneOver."""
    caller, cursor = Caller(run, story, client, story.key), dict[str, str]()
    while True:
        page = caller.rest("replay", "GET", f"{EVENTS}/replay", params={"limit": "20"} | cursor).json()
        story.events += page["events"]
        cursor = {"cursor": page["next_cursor"]}
        if not page["has_more"]:
            gevent.sleep(0.25)
