"""Whole runs of students against a broker in memory: a good one passes, no broken one does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import pytest

from harness import api_keys
from harness.sandboxes import seeding
from harness.sandboxes.calls import read_calls
from harness.settings import Target
from harness.verdict.thresholds import Check, Status
from load.measurements import server_clock
from load.measurements.observations import Absent, Part
from load.students.closed_loop import StudentLoop
from load.students.mixed import MixedLoop
from load.students.multi_lab import LabsLoop
from load.students.observer import Observer
from load.tests.fake_backend import ADMIN_KEY
from load.tests.fake_broker import Broker
from load.verdict.verdict import write_verdict
from load.workloads.students import MULTI, SMOKE, STRESS, MultiLab

QUICK = replace(SMOKE, devices=5, lag_ms=1000.0, duration_s=0.5, pause_s=(0.0, 0.05), sandboxes=20, latency=())
FULL = replace(STRESS, devices=10, lag_ms=1000.0, duration_s=0.2, pause_s=(0.0, 0.0), sandboxes=10, latency=())
LABS = replace(MULTI, devices=10, lag_ms=1000.0, students=3, sandboxes=25)
VERIFIED = [Check("V1", "a sandbox is live for one track at most", Status.PASS)]


def play(loop: StudentLoop, broker: Broker, directory: Path) -> dict[str, Any]:
    """The run from beginning to end; the document of result.json."""
    users = [gevent.spawn(loop.live, number, broker) for number in range(loop.run.scenario.devices)]
    loop.prepare()
    loop.conduct()
    gevent.joinall(users, timeout=5)
    found = loop.observer.collect() if loop.run.is_ready else None
    loop.clear_away()
    return write_verdict(loop.run, loop.criteria, found, loop.run.clock.now(), directory)


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that were removed, and the labels whose sandboxes were. Database and verifier are left out."""
    labels: list[str] = []
    monkeypatch.setattr(api_keys, "insert_key", lambda _url, role: f"key-of-the-{role}")
    monkeypatch.setattr(api_keys, "delete_key", lambda _url, secret: labels.append(secret))
    monkeypatch.setattr(seeding, "remove", lambda _url, label: labels.append(label))
    monkeypatch.setattr(server_clock, "from_database", lambda _: server_clock.this_machine())
    monkeypatch.setattr(Observer, "_verified", lambda _: VERIFIED)
    return labels


def run(
    monkeypatch: pytest.MonkeyPatch, directory: Path, scenario: Any, *faults: str, **target: Any
) -> tuple[dict[str, Any], StudentLoop]:
    broker = Broker(*faults)
    monkeypatch.setattr(seeding, "seed", broker.seed)
    monkeypatch.setattr(Observer, "_labs", lambda _: labs(broker))
    given = Target(broker.base_url, ADMIN_KEY, "secret-secret-secret", **{"database_url": "postgresql://x"} | target)
    loop = (LabsLoop if isinstance(scenario, MultiLab) else MixedLoop)(scenario, given, broker, seed=7)
    return play(loop, broker, directory), loop


def labs(broker: Broker) -> dict[str, int]:
    names = [held["track_name"] for held in broker.live.values()]
    return {name: names.count(name) for name in set(names)}


@pytest.mark.parametrize("scenario", [QUICK, FULL, LABS], ids=["smoke", "stress", "multi"])
def test_a_good_broker_passes_and_its_pool_is_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, removed: list[str], scenario: Any
) -> None:
    document, loop = run(monkeypatch, tmp_path, scenario, backend_pid=1)
    assert (document["verdict"], document["reasons"]) == ("pass", [])
    assert removed == ["key-of-the-track", "key-of-the-admin", loop.run.id]
    assert list(read_calls(tmp_path / "calls.csv.gz")) == loop.run.calls
    facts = document["facts"]
    asked = len({call.track_id for call in loop.run.calls if call.kind == "allocate"})
    assert facts["allocation_success"] - facts["idempotency_hit"] == min(asked, loop.run.scenario.sandboxes)
    assert facts["allocation_pool_exhausted"] == facts["allocation_conflicts"] == loop.run.outcomes[409]


@pytest.mark.parametrize(
    "scenario,fault,verdict,reason",
    [
        (FULL, "gives twice", "fail", "were there to be given, each once"),
        (FULL, "counts nothing", "fail", "metrics grew by exactly what is on record"),
        (LABS, "unmarked", "fail", "errors: 30 requests"),
        (FULL, "always empty", "inconclusive", "nothing was allocated"),
        (FULL, "overloaded", "fail", "errors:"),
        (replace(FULL, sandboxes=100_000), "", "inconclusive", "the pool was never empty"),
    ],
)
def test_a_broken_one_never_does(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    removed: list[str],
    scenario: Any,
    fault: str,
    verdict: str,
    reason: str,
) -> None:
    document, _ = run(monkeypatch, tmp_path, scenario, fault, backend_pid=1)
    assert document["verdict"] == verdict
    assert reason in " ".join(document["reasons"])


def test_without_a_database_or_with_a_pool_of_others_it_does_not_begin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, removed: list[str]
) -> None:
    document, _ = run(monkeypatch, tmp_path, QUICK, database_url=None)
    assert (document["exit_code"], "needs DATABASE_URL" in document["reasons"][0]) == (2, True)
    monkeypatch.setattr(MixedLoop, "pool", lambda _: {"available": 3})
    document, _ = run(monkeypatch, tmp_path, QUICK)
    assert (document["exit_code"], "3 sandboxes are free already" in document["reasons"][0]) == (2, True)
    assert removed == ["key-of-the-track", "key-of-the-admin"]


def test_what_the_verifier_could_not_look_at_is_no_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, removed: list[str]
) -> None:
    def away(_: Observer) -> Part[Any]:
        raise Absent(Status.INCONCLUSIVE, "the database is away")

    monkeypatch.setattr(Observer, "_verified", away)
    document, _ = run(monkeypatch, tmp_path, FULL, backend_pid=1)
    assert (document["verdict"], "the database is away" in document["reasons"][0]) == ("inconclusive", True)
