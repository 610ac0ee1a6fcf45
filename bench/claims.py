"""How many queued tasks a second one executor gets, in batches of 50, and what it waits for a batch."""

from __future__ import annotations

import secrets
import statistics
import time
from typing import Final

from bench.rig import Rig, client, listed, refused
from harness.http.client import Client
from harness.platform.seeding import fill, remove, seed, zone_id
from harness.platform.tasks import LONG_S, SCHEDULER
from harness.verdict.thresholds import Judgement, Limit

_BATCH: Final = 50
_BATCHES: Final = 100  # of a round
PER_S: Final = Limit(
    "claims by one executor", "/s", ">=", 2_000, source=f"batches of {_BATCH}, closed loop; medians of the rounds"
)
_QUEUE: Final = """
    INSERT INTO tasks (zone_id, task_id, owner, executor, task_type, payload, tier, request_state, enqueued_at, due_at,
        rank, max_attempts, backoff_base_s, backoff_cap_s)
    SELECT %(zone_id)s, gen_random_uuid(), 'bench', 'worker', 'bench', '{}', number %% 5, 'pending', now(), now(),
        now() + number %% 5 * interval '1 minute', 3, 1, 300
    FROM generate_series(1, %(tasks)s) AS number
"""
_CHARGE: Final = "UPDATE zones SET tasks_queued = tasks_queued + %(tasks)s WHERE zone_id = %(zone_id)s"


class _Executor:
    """One that claims, and does nothing with what it gets. waits_ms: for each batch."""

    def __init__(self, caller: Client, key: str) -> None:
        self._caller, self._key = caller, key
        self._claimed: set[str] = set()
        self.waits_ms = list[float]()

    def round(self, batches: int) -> float:
        """Tasks a second. Refused for a batch that is not full, or has a task that was given out before."""
        begun = time.monotonic()
        for _ in range(batches):
            self._claim()
        return batches * _BATCH / (time.monotonic() - begun)

    def _claim(self) -> None:
        wanted = {"executor": "worker", "limit": _BATCH, "lease_s": LONG_S}
        begun = time.monotonic()
        answer = self._caller.bearer(self._key, "POST", f"{SCHEDULER}/claim", json=wanted)
        self.waits_ms.append((time.monotonic() - begun) * 1000)
        tasks = [task["id"] for task in answer.json()["tasks"]] if answer.status == 200 else []
        if len(set(tasks) - self._claimed) != _BATCH:
            raise refused(f"the batch after {len(self._claimed)} tasks", answer.status, answer.body)
        self._claimed.update(tasks)


def claims(rig: Rig) -> list[Judgement]:
    """What an executor gets."""
    plan, url = rig.plan, rig.stack.target.database_url or ""
    label, key = secrets.token_hex(5), f"nxk_{secrets.token_urlsafe(32)}"
    seed(url, label, [key])
    taken = list[float]()
    try:
        tasks = (plan.rounds + 1) * _BATCHES * _BATCH
        fill(url, (_QUEUE, _CHARGE), "tasks", zone_id=zone_id(label, 0), tasks=tasks)
        with rig.backend() as backend:
            executor = _Executor(client(backend.base_url, rig.stack.env), key)
            executor.round(_BATCHES)  # the connection, plans
            executor.waits_ms.clear()
            for number in range(1, plan.rounds + 1):
                taken.append(executor.round(_BATCHES))
                rig.say(f"claims {number}/{plan.rounds}: {taken[-1]:.0f} tasks a second")
    finally:
        remove(url, label, 1)
    rig.facts["claims: one executor, tasks per s"] = listed(taken)
    rig.facts["claims: wait for a batch, ms, median"] = round(statistics.median(executor.waits_ms), 1)
    return [PER_S.judge_value(statistics.median(taken), len(taken))]
