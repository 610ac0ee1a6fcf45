"""Tasks are submitted, claimed, completed and looked at in their zone, and each answer is judged by its request."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from harness.open_loop.exchange import Exchange
from load.arrival_rate.schedule import MEASURED, WARM_UP, Leg
from load.arrival_rate.tasks import TaskRequests
from load.tests.prepared import part, sent
from load.workloads.arrival_rate import SCHEDULER
from load.workloads.task_record import TaskRecord

LEG = Leg(MEASURED, 0.0, 100.0, 400)
ID, TOKEN = "0199c0de-0000-7000-8000-0000000000d1", "8d3c1b52-6d4e-4a8f-9c55-1f0e2f7b9a10"


def tasks(zones: int = 2, index: int = 0, processes: int = 1, only: str = "") -> TaskRequests:
    keys = [f"key-{zone}" for zone in range(index, zones, processes)]
    mix = ((only, 1.0),) if only else SCHEDULER.mix
    return TaskRequests(part("tasks", zones, keys, index, processes, mix))


def answered(asked: TaskRequests, record: TaskRecord, exchange: Exchange, status: int, body: Any = None) -> bool:
    exchange.status = status
    exchange.body = b"" if body is None else json.dumps(body).encode()
    exchange.released = exchange.ended = time.monotonic()
    return asked.accept(exchange, record)


class Service:
    """Answers as a scheduler of these zones would."""

    def __init__(self) -> None:
        self.queued: dict[str, list[str]] = {}
        self.leases: dict[str, str] = {}
        self.made = 0

    def answer(self, exchange: Exchange) -> tuple[int, Any]:
        line, key, body = sent(exchange)
        queue = self.queued.setdefault(key, [])
        if line.endswith("/submit"):
            self.made += 1
            queue.append(f"{key}-{self.made}")
            return 201, {"id": queue[-1], "status": "queued"}
        if line.endswith("/claim"):
            given, self.queued[key] = queue[: body["limit"]], queue[body["limit"] :]
            self.leases |= {one: f"token of {one}" for one in given}
            return 200, {"tasks": [{"id": one, "lease_token": self.leases[one], "attempt": 1} for one in given]}
        if line.endswith("/classify"):
            return 200, {"priority_class": "batch"}
        task_id = line.partition("/task/")[2].removesuffix("/complete")
        assert task_id.startswith(key), "a task of another zone"
        if line.startswith("GET"):
            return 200, {"id": task_id}
        assert self.leases.pop(task_id) == body["lease_token"]
        return 200, {"id": task_id, "status": "completed"}


def test_tasks_go_through_their_zone_and_hardly_wait() -> None:
    asked, record, service = tasks(), TaskRecord(), Service()
    kinds: dict[str, int] = {}
    for place, exchange in enumerate(asked.of(LEG)):
        assert sent(exchange)[1] == f"key-{place % 2}"
        kinds[exchange.kind] = kinds.get(exchange.kind, 0) + 1
        assert answered(asked, record, exchange, *service.answer(exchange))
    assert len(record.submitted) == kinds["submit"] > 120
    assert len(record.completed) == kinds["complete"] > 80
    assert min(kinds["look"], kinds["classify"]) > 10
    assert len(record.submitted) - len(record.completed) < 40
    assert set(record.claimed.values()) == {1}
    assert not record.unsure | record.unsure_completed


def test_a_warm_up_is_of_a_kind_of_its_own() -> None:
    asked, record, service = tasks(), TaskRecord(), Service()
    for exchange in asked.of(Leg(WARM_UP, 0.0, 100.0, 40)):
        assert exchange.kind == WARM_UP
        assert answered(asked, record, exchange, *service.answer(exchange))
    assert record.submitted


def test_processes_have_zones_and_keys_of_their_own() -> None:
    parts = [[sent(one) for one in tasks(5, index, 2, "submit").of(LEG)] for index in (0, 1)]
    assert {key for _, key, _ in parts[0]} & {key for _, key, _ in parts[1]} == set()
    assert len({body["idempotency_key"] for one in parts for _, _, body in one}) == 400


LEASE = {"id": ID, "lease_token": TOKEN, "attempt": 1}


@pytest.mark.parametrize(
    "kind, status, body, wanted, left",
    [
        ("submit", 201, {"id": ID, "status": "queued"}, True, "submitted"),
        ("submit", 200, {"id": ID, "status": "queued"}, False, "unsure"),
        ("submit", 201, {"id": None, "status": "queued"}, False, "unsure"),
        ("submit", 201, {"id": ID, "status": "running"}, False, "unsure"),
        ("submit", 409, {"code": "queue_full"}, False, ""),
        ("submit", 503, {"code": "overloaded"}, False, "unsure"),
        ("submit", 0, None, False, "unsure"),
        ("claim", 200, {"tasks": []}, True, ""),
        ("claim", 200, {"tasks": [LEASE]}, True, "claimed"),
        ("claim", 200, {"tasks": [LEASE | {"attempt": 2}]}, False, "lost_claims"),
        ("claim", 200, {"tasks": [LEASE] * 11}, False, "lost_claims"),
        ("claim", 200, {"tasks": [{"id": ID}]}, False, "lost_claims"),
        ("claim", 200, {"tasks": None}, False, "lost_claims"),
        ("claim", 429, {"code": "rate_limited"}, False, ""),
        ("claim", 0, None, False, "lost_claims"),
        ("classify", 200, {"priority_class": "batch"}, True, ""),
        ("classify", 200, {"priority_class": "background"}, False, ""),
    ],
)
def test_only_the_wanted_answer_counts(kind: str, status: int, body: Any, wanted: bool, left: str) -> None:
    asked, record = tasks(only=kind), TaskRecord()
    assert answered(asked, record, next(iter(asked.of(LEG))), status, body) is wanted
    found = {name for name, value in vars(record).items() if value and name != "refusals"}
    assert found == {left} - {""}
    assert bool(record.refusals) is not wanted


@pytest.mark.parametrize(
    "status, body, wanted, left",
    [
        (200, {"id": ID, "status": "completed"}, True, "completed"),
        (200, {"id": ID, "status": "queued"}, False, "unsure_completed"),
        (409, {"code": "lease_lost"}, False, ""),
        (503, {"code": "dependency_unavailable"}, False, "unsure_completed"),
        (0, None, False, "unsure_completed"),
    ],
)
def test_a_completion_needs_its_lease(status: int, body: Any, wanted: bool, left: str) -> None:
    asked, record = tasks(1, only="complete"), TaskRecord()
    exchanges = asked.of(LEG)
    assert answered(asked, record, next(exchanges), 200, {"tasks": [LEASE]}), "without a lease it is a claim"
    completion = next(exchanges)
    assert sent(completion)[2] == {"lease_token": TOKEN, "result": {}}
    assert answered(asked, record, completion, status, body) is wanted
    found = {name for name in ("completed", "unsure_completed") if getattr(record, name) == {ID}}
    assert found == {left} - {""}
