"""What is a fault among the rows of agents that were heard of."""

from __future__ import annotations

from collections import Counter

import pytest

from load.workloads.agent_record import AgentRecord, AgentRow, agent_faults


def row(tokens_used: int, state: str = "CONNECTED") -> AgentRow:
    return AgentRow(state, tokens_used)


@pytest.mark.parametrize("tokens_used", [5, 7])
def test_an_agent_stands_at_its_last_heartbeat_or_at_one_whose_answer_is_not_known(tokens_used: int) -> None:
    assert agent_faults(AgentRecord({1: 5}, {1: 7}), {1: row(tokens_used), 2: row(0)}) == []


@pytest.mark.parametrize(
    "record, found, fault",
    [
        (AgentRecord({1: 5, 2: 6}), {1: row(5)}, "1 agents that were heard of and are not there"),
        (AgentRecord({1: 5}), {1: row(4)}, "1 agents whose row is not of their last heartbeat"),
        (AgentRecord({1: 5}), {1: row(6)}, "1 agents whose row is not of their last heartbeat"),
        (AgentRecord({1: 5}, {1: 3}), {1: row(3)}, "1 agents whose row is not of their last heartbeat"),
        (AgentRecord({1: 5}, {1: 7}), {1: row(8)}, "1 agents whose row is not of their last heartbeat"),
        (AgentRecord({1: 5}), {1: row(5, "IDLE")}, "1 agents that are not connected"),
    ],
)
def test_each_lie_is_a_fault(record: AgentRecord, found: dict[int, AgentRow], fault: str) -> None:
    assert agent_faults(record, found) == [fault]


def test_parts_of_processes_add_up_past_a_message() -> None:
    record = AgentRecord({1: 5, 2: 2}, {3: 1}, Counter(["503 overloaded"]))
    record.merge(AgentRecord.from_dict(AgentRecord({1: 4, 4: 9}, {3: 2}, Counter(["503 overloaded"])).to_dict()))
    assert record == AgentRecord({1: 5, 2: 2, 4: 9}, {3: 2}, Counter({"503 overloaded": 2}))
