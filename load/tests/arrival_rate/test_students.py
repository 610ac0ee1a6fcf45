"""Students ask as the mix says, one request at a time each, and only the right answer is the wanted one."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pytest

from harness.open_loop.exchange import Exchange
from harness.sandboxes.calls import ALLOCATE, RELEASE
from load.arrival_rate.schedule import MEASURED, WARM_UP, Leg
from load.arrival_rate.students import StudentRequests
from load.arrival_rate.workload import WorkerConfig
from load.workloads.arrival_rate import MIX
from load.workloads.call_record import CallRecord

NOW = int(time.time())
HAS = {"sandbox_id": "load-a-1", "allocated_at": NOW, "expires_at": NOW + 14_400}


def students(*mix: tuple[str, float], **given: Any) -> StudentRequests:
    values: dict[str, Any] = {
        "devices": 100,
        "seed": 1,
        "run": "run",
        "origin": 0.0,
        "workload": "students",
        "mix": mix,
        "base_url": "http://127.0.0.1:1",
        "tokens": ["track-key", "admin-key"],
        "ahead_s": time.time() - time.monotonic(),
    }
    return StudentRequests(WorkerConfig(**values | given))


def answered(exchange: Exchange, status: int, body: Any = None, head: bytes = b"") -> Exchange:
    exchange.status, exchange.head = status, b"http/1.1 200 ok\r\n" + head
    exchange.body = b"" if body is None else json.dumps(body).encode()
    exchange.sent = exchange.released = exchange.ended = time.monotonic()
    return exchange


def with_sandbox(kind: str) -> tuple[StudentRequests, CallRecord, Exchange]:
    """A student who has a sandbox, and their request of this kind."""
    asked, record = students(("new", 1.0)), CallRecord()
    [first] = asked.of(Leg(MEASURED, 0.0, 1.0, 1))
    assert asked.accept(answered(first, 201, HAS), record)
    asked._kinds, asked._shares = [kind], [1.0]
    [second] = asked.of(Leg(MEASURED, 0.0, 1.0, 1))
    assert second.kind == kind
    return asked, record, second


def test_the_shares_are_those_of_the_mix() -> None:
    asked, record = students(*MIX), CallRecord()
    kinds: Counter[str] = Counter()
    for exchange in asked.of(Leg(MEASURED, 0.0, 1000.0, 20_000)):
        kinds[exchange.kind] += 1
        body = HAS | {"status": "pending_deletion" if exchange.kind == "release" else "allocated", "total": 1}
        head = b"\r\nidempotent-replay: true" if exchange.kind == "replay" else b""
        assert asked.accept(answered(exchange, 201 if exchange.kind == "new" else 200, body, head), record)
    shares = {kind: count / 20_000 for kind, count in kinds.items()}
    assert shares == pytest.approx(dict(MIX), abs=0.02)
    assert len(record.tracks) == 20_000 - kinds["stats"]


@pytest.mark.parametrize(
    "status, body, head, wanted",
    [
        (201, HAS, b"", True),
        (201, HAS | {"sandbox_id": ""}, b"", False),
        (201, None, b"", False),
        (200, HAS, b"\r\nidempotent-replay: true", False),
        (409, {"code": "no_sandboxes_available"}, b"\r\nretry-after: 30", True),
        (409, {"code": "no_sandboxes_available"}, b"", False),
        (409, {"code": "extension_limit"}, b"\r\nretry-after: 30", False),
        (503, {"code": "allocation_contended"}, b"\r\nretry-after: 1", False),
        (429, {"code": "rate_limited"}, b"", False),
        (0, None, b"", False),
    ],
)
def test_a_new_student(status: int, body: Any, head: bytes, wanted: bool) -> None:
    asked, record = students(("new", 1.0)), CallRecord()
    [exchange] = asked.of(Leg(MEASURED, 0.0, 1.0, 1))
    assert asked.accept(answered(exchange, status, body, head), record) is wanted
    [call] = record.calls()
    assert (call.kind, call.status, call.track_id) == (ALLOCATE, status, "run-0-0")


@pytest.mark.parametrize(
    "kind, status, body, head, wanted",
    [
        ("replay", 200, HAS, b"\r\nidempotent-replay: true", True),
        ("replay", 200, HAS, b"", False),
        ("replay", 201, HAS, b"\r\nidempotent-replay: true", False),
        ("replay", 200, HAS | {"sandbox_id": "load-a-2"}, b"\r\nidempotent-replay: true", False),
        ("replay", 200, HAS | {"expires_at": NOW}, b"\r\nidempotent-replay: true", False),
        ("replay", 409, {"code": "no_sandboxes_available"}, b"\r\nretry-after: 30", False),
        ("release", 200, HAS | {"status": "pending_deletion"}, b"", True),
        ("release", 200, HAS | {"status": "allocated"}, b"", False),
        ("view", 200, HAS | {"status": "allocated"}, b"", True),
        ("view", 200, HAS | {"sandbox_id": "load-a-2", "status": "allocated"}, b"", False),
        ("view", 404, {"code": "sandbox_not_found"}, b"", False),
        ("stats", 200, {"total": 3}, b"", True),
        ("stats", 200, {}, b"", False),
    ],
)
def test_one_who_has_a_sandbox(kind: str, status: int, body: Any, head: bytes, wanted: bool) -> None:
    asked, record, exchange = with_sandbox(kind)
    assert asked.accept(answered(exchange, status, body, head), record) is wanted


def test_nobody_has_two_requests_at_once_and_none_after_the_release() -> None:
    asked, record, release = with_sandbox("release")
    asked._kinds = ["view"]
    assert [one.kind for one in asked.of(Leg(MEASURED, 0.0, 1.0, 1))] == ["new"], "the only one is busy"
    asked.accept(answered(release, 0), record)
    assert [one.kind for one in asked.of(Leg(MEASURED, 0.0, 1.0, 1))] == ["new"], "it may have been given back"
    assert [call.kind for call in record.calls()] == [ALLOCATE, RELEASE]


def test_a_warm_up_looks_or_drains() -> None:
    asked, record = students(("new", 1.0)), CallRecord()
    [look] = asked.of(Leg(WARM_UP, 0.0, 1.0, 1))
    assert look.data.startswith(b"GET /v1/allocations/current ")
    assert asked.accept(answered(look, 404, {"code": "no_allocation"}), record)
    assert not record.tracks
    draining = students(("drain", 1.0), ("new", 1.0))
    [taken] = draining.of(Leg(WARM_UP, 0.0, 1.0, 1))
    assert taken.data.startswith(b"POST /v1/allocate ")
    assert draining.accept(answered(taken, 201, HAS), record)
    assert len(record.tracks) == 1
