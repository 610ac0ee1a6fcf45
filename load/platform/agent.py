"""An agent of the demonstration: it enrols, is heard of, works at tasks, keeps results as files, or falls silent."""

from __future__ import annotations

import random
from typing import Any, Final

import gevent

from harness.http.client import Client
from harness.platform.rpc import unwrapped
from harness.platform.tasks import SCHEDULER
from load.platform.caller import Caller
from load.platform.run import Claim, PlatformRun, Task, Worker, ZoneStory

AGENTS: Final = "/api/v2/agents"
CREW: Final = "crew"  # the executor whose tasks all agents of a zone take
_AT_ONCE: Final = 2


class Agent:
    """It acts by its own key, and claims tasks of the crew by the key of the zone's member, in its own name."""

    def __init__(self, run: PlatformRun, story: ZoneStory, name: str, client: Client, rng: random.Random) -> None:
        self._run, self._client, self._rng, self._story = run, client, rng, story
        self._member = Caller(run, story, client, story.key, [("X-Agent-Id", name)])
        self._own = self._member
        self.worker = run.workers[name] = Worker(name, story.name, run.clock.now())
        self._results = 0
        self._heard_again_at = 0.0

    @property
    def _name(self) -> str:
        return self.worker.name

    def enrol(self) -> None:
        """Register, with a key of its own; say what it can do; warm up, which connects it. Refused."""
        made = self._member.rpc(
            "register", "register_agent", agent_id=self._name, name=self._name, generate_api_key=True
        )
        self._own = Caller(self._run, self._story, self._client, made["api_key"])
        spec = {"agent_type": "worker", "capabilities": ["render"], "qos_class": "standard"}
        self._own.rest("spec", "PUT", f"{AGENTS}/{self._name}/spec", json=spec)
        warm = self._own.rest("warmup", "POST", f"{AGENTS}/{self._name}/warmup", json={}).json()
        shown = self._own.rpc("get", "get_agent", agent_id=self._name)
        if warm.get("success") is not True or shown["state"] != "CONNECTED":
            self._own.fault("warmup", f"success {warm.get('success')}, {shown['state']}")
        self.worker.generation = shown["generation"]
        self.worker.ready_at = self._own.answered_at
        self.worker.note("connected", self._own.answered_at)

    def heartbeat(self) -> None:
        """Be heard of, where it is time."""
        now = self._run.clock.now()
        if now < self._heard_again_at:
            return
        number = self.worker.heartbeats + 1
        session = {"generation": self.worker.generation, "usage": {"tokens_used": number}, "observed_generation": 1}
        self._own.rpc("heartbeat", "agent_heartbeat", agent_id=self._name, **session)
        self.worker.heartbeats = number
        self._heard_again_at = now + self._run.scenario.heartbeat_s
        self.worker.note("heartbeat", self._own.answered_at)

    def claim(self) -> list[tuple[Task, Claim]]:
        """The next tasks of the crew, where there are some."""
        wanted = {
            "executor": CREW,
            "limit": _AT_ONCE,
            "lease_s": self._run.scenario.lease_s,
            "wait_s": 0.5,
            "generation": self.worker.generation,
        }
        answer = self._member.rest("claim", "POST", f"{SCHEDULER}/claim", json=wanted).json()
        return [given for lease in answer["tasks"] if (given := self._given(lease)) is not None]

    def _given(self, lease: dict[str, Any]) -> tuple[Task, Claim] | None:
        """None: it is no task of this zone, or not the one that its name says."""
        task = self._run.tasks.get(lease["payload"].get("name", ""))
        if task is None or task.zone != self._story.name or task.task_id not in ("", lease["id"]):
            self._run.trespasses.append(f"{self._name} was given {lease['id']}, which is no task of its zone")
            return None
        task.task_id = lease["id"]  # its submitter may not have the answer yet
        claim = Claim(
            self._name, lease["attempt"], lease["lease_token"], self._member.asked_at, self._member.answered_at
        )
        task.claims.append(claim)
        return task, claim

    def work(self, task: Task, claim: Claim) -> None:
        """Do what the task wants: fail so many times, or be done, and then keep a result. Refused, ZoneOver."""
        low, high = self._run.scenario.works_s
        gevent.sleep(self._rng.uniform(low, high) / 2)
        place, held = f"{SCHEDULER}/task/{task.task_id}", {"lease_token": claim.token}
        if self._rng.random() < 0.3:
            self._member.rest("renew", "POST", f"{place}/heartbeat", json=held)
        gevent.sleep(self._rng.uniform(low, high) / 2)
        fails = claim.attempt <= task.fails
        claim.end = "fail" if fails else "complete"
        more = {"error": "it did not work", "retryable": not task.final} if fails else {"result": {"by": self._name}}
        ended = self._member.rest(claim.end, "POST", f"{place}/{claim.end}", json=held | more).json()
        claim.status, claim.ended_at = ended["status"], (self._member.asked_at, self._member.answered_at)
        self.worker.note("failed" if fails else "completed", self._member.answered_at)
        if not fails:
            self._keep(task)

    def _keep(self, task: Task) -> None:
        """The result as a file, read back; every third is moved, every fifth is removed again."""
        own, path = self._own, f"/results/{task.name}.txt"
        text = f"{task.task_id} by {self._name}"
        written = own.change("write", "write", path, path=path, content=text)
        self._story.files[path] = written["etag"]
        if unwrapped(own.rpc("read", "read", path=path)) != text.encode():
            own.fault("read", "another content than was written")
        self._results += 1
        if self._results % 3 == 0:
            to = f"/done/{task.name}.txt"
            own.change("rename", "rename", path, to, old_path=path, new_path=to)
            self._story.files[to] = self._story.files.pop(path)
            path = to
        if self._results % 5 == 0:
            own.change("delete", "delete", path, path=path)
            del self._story.files[path]
        self.worker.note("stored", own.answered_at)
