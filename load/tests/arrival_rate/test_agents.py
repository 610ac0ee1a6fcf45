"""Each agent is heard of in turn, in its zone, and only the answer of a whole heartbeat is the wanted one."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from harness.settings import SettingsError, Target
from load.arrival_rate.agents import CHECKS, AgentRequests, SeededAgents
from load.arrival_rate.run import ArrivalRateRun
from load.arrival_rate.schedule import MEASURED, WARM_UP, Leg
from load.arrival_rate.workload import Observations
from load.measurements.histogram import Timings
from load.measurements.observations import LogErrors, Metrics, Part
from load.measurements.tally import Tally
from load.tests.prepared import part, sent
from load.verdict.check import run_checks
from load.workloads.agent_record import ZONES, AgentRecord, AgentRow
from load.workloads.arrival_rate import AGENTS

LEG = Leg(MEASURED, 0.0, 100.0, 100)
TARGET = Target("http://127.0.0.1:1", "k" * 20, "s" * 20, database_url="postgresql://nobody@127.0.0.1:1/none")
CALLS = ("nexmdm_platform_rpc_calls_total", frozenset({("method", "agent_heartbeat"), ("outcome", "result")}))


def agents(index: int = 0, processes: int = 1) -> AgentRequests:
    return AgentRequests(part("agents", 50, [f"key-{zone}" for zone in range(ZONES)], index, processes))


def test_each_agent_is_heard_of_in_its_zone_with_a_number_that_rises() -> None:
    asked, last = agents(), dict[str, int]()
    for place, exchange in enumerate([*asked.of(LEG), *asked.of(Leg(WARM_UP, 0.0, 100.0, 50))]):
        _, key, call = sent(exchange)
        assert exchange.kind == ("heartbeat" if place < 100 else WARM_UP)
        assert (key, call["params"]["agent_id"]) == (f"key-{place % 50 % ZONES}", f"agent-{place % 50}")
        number = call["params"]["usage"]["tokens_used"]
        assert number == call["id"] > last.get(call["params"]["agent_id"], 0)
        last[call["params"]["agent_id"]] = number
    assert len(last) == 50


def test_processes_have_agents_of_their_own() -> None:
    parts = [{sent(one)[2]["params"]["agent_id"] for one in agents(index, 2).of(LEG)} for index in (0, 1)]
    assert (len(parts[0]), len(parts[1]), parts[0] & parts[1]) == (25, 25, set())


@pytest.mark.parametrize(
    "status, body, wanted, ledger",
    [
        (200, {"result": {"ok": True}}, True, "last"),
        (200, {"result": {"ok": False}}, False, "unsure"),
        (200, {"result": {"ok": True}, "id": 0}, False, "unsure"),
        (200, {"error": {"code": -32000, "message": "Agent is not connected"}}, False, ""),
        (401, {"code": "token_invalid"}, False, ""),
        (503, {"code": "overloaded"}, False, "unsure"),
        (0, None, False, "unsure"),
    ],
)
def test_only_a_whole_heartbeat_is_acknowledged(status: int, body: Any, wanted: bool, ledger: str) -> None:
    asked, record = agents(), AgentRecord()
    exchange = next(iter(asked.of(LEG)))
    exchange.status = status
    exchange.body = b"" if body is None else json.dumps({"jsonrpc": "2.0", "id": 1} | body).encode()
    exchange.released = exchange.ended = time.monotonic()
    assert asked.accept(exchange, record) is wanted
    assert {name for name in ("last", "unsure") if getattr(record, name) == {0: 1}} == {ledger} - {""}
    assert bool(record.refusals) is not wanted


def look(record: AgentRecord, *zones: tuple[dict[int, AgentRow], int], counted: int = 2) -> dict[str, str]:
    """The status of each check of a run with this record."""
    tally = Tally(Timings(1.0, 10.0), answered=len(record.last), ledger=record)
    run = ArrivalRateRun(AGENTS, "run", 1, frozenset({"process"}), time.time(), measured=tally)
    metrics = Part(Metrics({CALLS: 1.0}, {CALLS: 1.0 + counted}))
    seen = Observations(rows=Part(list(zones)), metrics=metrics, log=Part(LogErrors(5, [])))
    return {check.id: check.status.value for check in run_checks(run, seen, CHECKS)}


PASS = dict.fromkeys(("agents", "events", "counters", "log-errors"), "pass")
FOUND = {0: AgentRow("CONNECTED", 5), 1: AgentRow("CONNECTED", 6)}


def test_each_check_sees_its_own_fault() -> None:
    record = AgentRecord({0: 5, 1: 6})
    assert look(record, (FOUND, 0)) == PASS
    assert look(record, (FOUND | {1: AgentRow("IDLE", 6)}, 0)) == PASS | {"agents": "fail"}
    assert look(record, (FOUND, 1)) == PASS | {"events": "fail"}
    assert look(record, (FOUND, 0), counted=3) == PASS | {"counters": "fail"}


def test_where_nothing_was_answered_nothing_passes() -> None:
    seen = look(AgentRecord(), ({}, 0), counted=0)
    assert (seen["agents"], seen["counters"]) == ("inconclusive", "fail")


def test_it_has_a_member_of_each_zone_and_needs_a_database() -> None:
    assert SeededAgents(TARGET).numbers(part("agents", 50, [])) == range(ZONES)
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        SeededAgents(Target("http://127.0.0.1:1", "k" * 20, "s" * 20))
