"""Agents of a zone as cases use them: registered, connected, specified, looked at, and left silent for a while."""

import uuid
from collections.abc import Iterator
from typing import Any

from acceptance.platform.zones import Platform
from acceptance.system.match import accepted
from harness.http.client import Answer
from harness.platform.zone import Pairs, Zone

AGENTS = "/api/v2/agents"
STATES = ("UNKNOWN", "CONNECTED", "IDLE", "SUSPENDED")
LEGAL = {
    ("UNKNOWN", "CONNECTED"),
    ("CONNECTED", "IDLE"),
    ("CONNECTED", "SUSPENDED"),
    ("IDLE", "CONNECTED"),
    ("IDLE", "SUSPENDED"),
    ("SUSPENDED", "CONNECTED"),
}
# From UNKNOWN to each state.
WAYS: dict[str, tuple[str, ...]] = {
    "UNKNOWN": (),
    "CONNECTED": ("CONNECTED",),
    "IDLE": ("CONNECTED", "IDLE"),
    "SUSPENDED": ("CONNECTED", "SUSPENDED"),
}
TTL_S = 90
_AGO = """
    update agents set connected_at = connected_at - make_interval(secs => %(seconds)s), ready_since = ready_since
        - make_interval(secs => %(seconds)s), last_heartbeat = last_heartbeat - make_interval(secs => %(seconds)s)
    where zone_id = %(zone)s and agent_id = %(agent)s
"""


def registered(zone: Zone, agent_id: str = "", **fields: Any) -> str:
    """The id of a new agent."""
    agent: dict[str, Any] = zone.rpc("register_agent", agent_id=agent_id or new_id(), name="an agent", **fields)
    return str(agent["agent_id"])


def new_id() -> str:
    return f"agent-{uuid.uuid4().hex[:12]}"


def moved(zone: Zone, agent_id: str, state: str, **expected: int) -> int:
    """The generation of the agent's session after the transition."""
    result = zone.rpc("agent_transition", agent_id=agent_id, target_state=state, **expected)
    assert (result["agent_id"], result["state"]) == (agent_id, state)
    return int(result["generation"])


def brought_to(zone: Zone, state: str, agent_id: str = "") -> str:
    """The id of a new agent in this state."""
    agent_id = registered(zone, agent_id)
    for one in WAYS[state]:
        moved(zone, agent_id, one)
    return agent_id


def specify(zone: Zone, agent_id: str, *, headers: Pairs = (), **fields: Any) -> Answer:
    """Give the agent a spec."""
    sent = {"agent_type": "worker", **fields}
    return zone.request("PUT", f"{AGENTS}/{agent_id}/spec", json=sent, headers=headers)


def specified(zone: Zone, agent_id: str, **fields: Any) -> dict[str, Any]:
    """The spec that the agent has then."""
    spec: dict[str, Any] = accepted(specify(zone, agent_id, **fields))
    return spec


def spec_of(zone: Zone, agent_id: str) -> Answer:
    return zone.request("GET", f"{AGENTS}/{agent_id}/spec")


def status_of(zone: Zone, agent_id: str) -> dict[str, Any]:
    status: dict[str, Any] = accepted(zone.request("GET", f"{AGENTS}/{agent_id}/status"))
    return status


def readiness(zone: Zone, agent_id: str) -> tuple[str, str]:
    """Status and reason of the condition Ready."""
    [ready] = status_of(zone, agent_id)["conditions"]
    assert ready["type"] == "Ready"
    return ready["status"], ready["reason"]


def warm_up(zone: Zone, agent_id: str, *steps: dict[str, Any]) -> Answer:
    """With the steps given, or all that are known."""
    sent = {"steps": list(steps)} if steps else {}
    return zone.request("POST", f"{AGENTS}/{agent_id}/warmup", json=sent)


def found(zone: Zone, *params: tuple[str, str]) -> list[str]:
    """The ids of all agents that a query finds, newest first, page by page."""
    return [agent["agent_id"] for agent in _pages(zone, params)]


def _pages(zone: Zone, params: Pairs) -> Iterator[dict[str, Any]]:
    cursor: Pairs = ()
    while True:
        page = accepted(zone.request("GET", AGENTS, params=[*params, *cursor]))
        yield from page["items"]
        if page["next_cursor"] is None:
            return
        cursor = [("cursor", page["next_cursor"])]


def told_of(zone: Zone, agent_id: str) -> list[str]:
    """The types of the events of the agent, oldest first."""
    return [event["type"] for event in zone.log(agent_id=agent_id)]


def silent_for(platform: Platform, zone: Zone, agent_id: str, seconds: float) -> None:
    """Let it be so long since the agent connected and was heard of."""
    platform.write(_AGO, zone=zone.zone_id, agent=agent_id, seconds=seconds)
