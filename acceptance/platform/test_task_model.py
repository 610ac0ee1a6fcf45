"""Tasks of a zone against a model in memory: any order of calls leaves states, attempts, queue and quota as it says."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from acceptance.platform.model import OfAZone, compare
from acceptance.platform.tasks import claimed, end_lease, history, seen, submitted
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.match import accepted, refused
from harness.platform.tasks import Tasks
from harness.waiting import eventually

PRIORITIES = ("critical", "high", "normal", "low", "best_effort")
MOST_ATTEMPTS = 2
EVENTS = {"queued": "retried", "completed": "completed", "failed": "failed", "cancelled": "cancelled"}


@dataclass
class Model:
    """What a task should be. place: in its tier, later for what was queued later."""

    tier: int
    place: int
    status: str = "queued"
    cancel_requested: bool = False
    lease: dict[str, Any] = field(default_factory=dict)
    outcomes: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=lambda: ["submitted"])

    def come_to(self, status: str) -> None:
        self.status = status
        self.events.append(EVENTS[status])

    def end(self, outcome: str, *, retryable: bool = True) -> None:
        """An attempt that has failed."""
        self.outcomes.append(outcome)
        if self.cancel_requested:
            self.come_to("cancelled")
        else:
            self.come_to("queued" if retryable and len(self.outcomes) < MOST_ATTEMPTS else "failed")


class Machine(OfAZone):
    """Calls of one zone, each with the same change of the model. Retries come at once."""

    def __init__(self) -> None:
        super().__init__()
        self._tasks = Tasks(self._zone)
        self._models: dict[str, Model] = {}
        self._places = 0

    def _next(self) -> int:
        self._places += 1
        return self._places

    def _drawn(self, number: int) -> tuple[str, Model] | None:
        return list(self._models.items())[number % len(self._models)] if self._models else None

    @rule(tier=st.integers(0, 4))
    def submit(self, tier: int) -> None:
        task = submitted(self._tasks, priority=PRIORITIES[tier], max_attempts=MOST_ATTEMPTS, backoff_base_s=0)
        self._models[task["id"]] = Model(tier, self._next())

    @rule(limit=st.integers(1, 3))
    def claim(self, limit: int) -> None:
        queued = [(one.tier, one.place, task_id) for task_id, one in self._models.items() if one.status == "queued"]
        leases = claimed(self._tasks, limit=limit)
        assert [lease["id"] for lease in leases] == [task_id for *_, task_id in sorted(queued)[:limit]]
        for lease in leases:
            model = self._models[lease["id"]]
            model.status, model.lease = "running", lease
            model.events.append("claimed")
            assert lease["attempt"] == len(model.outcomes) + 1

    @rule(number=st.integers(0, 99), how=st.sampled_from(["complete", "retry", "give up", "stopped", "heartbeat"]))
    def use_lease(self, number: int, how: str) -> None:
        drawn = self._drawn(number)
        if drawn is None or not drawn[1].lease:
            return
        _, model = drawn
        calls: dict[str, Any] = {
            "complete": lambda: self._tasks.complete(model.lease),
            "retry": lambda: self._tasks.fail(model.lease),
            "give up": lambda: self._tasks.fail(model.lease, retryable=False),
            "stopped": lambda: self._tasks.fail(model.lease, cancelled=True),
            "heartbeat": lambda: self._tasks.heartbeat(model.lease),
        }
        answer = calls[how]()
        if model.status != "running":
            refused(answer, 409, "lease_lost")
        elif how == "heartbeat":
            assert accepted(answer)["cancel_requested"] is model.cancel_requested
        elif how == "complete":
            model.outcomes.append("completed")
            model.come_to("completed")
        else:
            told = how == "stopped" and model.cancel_requested
            model.end("cancelled" if told else "failed", retryable=how != "give up")
            model.place = self._next()
            assert accepted(answer)["status"] == model.status

    @rule(number=st.integers(0, 99))
    def cancel(self, number: int) -> None:
        if drawn := self._drawn(number):
            task_id, model = drawn
            if model.status == "queued":
                model.come_to("cancelled")
            model.cancel_requested |= model.status in ("running", "cancelled")
            told = accepted(self._tasks.cancel(task_id))
            assert (told["cancelled"], told["status"]) == (model.status == "cancelled", model.status)
            assert told["cancel_requested"] is model.cancel_requested

    @rule(number=st.integers(0, 99))
    def lose_lease(self, number: int) -> None:
        drawn = self._drawn(number)
        if drawn is not None and drawn[1].status == "running":
            task_id, model = drawn
            end_lease(self.platform, task_id)
            model.end("expired")
            model.place = self._next()
            eventually(lambda: seen(self._tasks, task_id)["status"] == model.status, within_s=5.0)

    @invariant()
    def is_as_the_model_says(self) -> None:
        for task_id, model in self._models.items():
            shown = seen(self._tasks, task_id)
            assert (shown["status"], shown["cancel_requested"]) == (model.status, model.cancel_requested)
            assert [one["outcome"] for one in shown["attempts"] if one["outcome"]] == model.outcomes
        statuses = [model.status for model in self._models.values()]
        counted = accepted(self._tasks.metrics())["tasks_by_status"]
        assert counted == {status: statuses.count(status) for status in counted}
        assert self._zone.usage()["max_tasks_queued"] == statuses.count("queued")

    def teardown(self) -> None:
        for task_id, model in self._models.items():
            assert history(self._zone, task_id) == model.events
            accepted(self._tasks.cancel(task_id))
        super().teardown()


@case("task-model/001", slow="some 2,000 requests")
def test_tasks_are_as_a_model_says(platform: Platform) -> None:
    """Whatever calls come in whatever order, states, attempts, order and usage are what a model says (issue 18)."""
    compare(Machine, platform)
