"""Agents over JSON-RPC: registered once, changed, listed by zone, heard of in their session, deleted with their key."""

from collections import Counter
from functools import partial
from typing import Any

import pytest

from acceptance.platform.agents import (
    AGENTS,
    brought_to,
    found,
    moved,
    new_id,
    registered,
    spec_of,
    specified,
    specify,
    status_of,
    told_of,
    warm_up,
)
from acceptance.platform.bricks import unmounted
from acceptance.platform.test_agent import became
from acceptance.platform.test_quota import limited
from acceptance.platform.zones import Platform, denied
from acceptance.suite.case import case
from acceptance.system.match import accepted, refused
from acceptance.system.system import System
from acceptance.system.web_workers import background_process, frozen, race
from harness.platform.rpc import request
from harness.platform.zone import ZONES, Zone

RACERS = 20
KEY = "select revoked_at is not null from api_keys where name = (select key_name from agents where agent_id = %s)"
ROW = "select xmin::text, event_seq from zones where zone_id = %s"


@case("agents/001", "registerAgent agent_exists", "registerAgent quota_exceeded", "deleteAgent result")
def test_an_agent_is_registered_once_and_counts(platform: Platform) -> None:
    """An agent that is there is not registered again; agents count to the limit, and a deleted one no more (api)."""
    zone = platform.zone(limits={"max_agents": 2})
    first = registered(zone)
    with platform.unchanged():
        error = denied(zone, -32001, "agent_exists", "register_agent", agent_id=first, name="b", generate_api_key=True)
        assert error.message == "agent already registered"
    second = registered(zone)
    with platform.unchanged():
        refusal = denied(zone, -32010, "quota_exceeded", "register_agent", agent_id=new_id(), name="an agent")
        assert refusal.data["limit"] == "max_agents"
    assert zone.usage()["max_agents"] == 2
    limited(platform, zone, max_agents=0)
    zone.rpc("update_agent", agent_id=first, name="another name")
    for left, agent_id in ((1, first), (0, second)):
        assert zone.rpc("delete_agent", agent_id=agent_id) is True
        assert zone.usage()["max_agents"] == left


@case("agents/002", "updateAgent result", "updateAgent agent_not_found")
def test_what_an_agent_was_registered_as_is_changed(zone: Zone, platform: Platform, system: System) -> None:
    """What is given replaces what was there, as one event; what is the same already is no change (platform.md)."""
    agent_id = registered(zone, description="before", capabilities=["a"], metadata={"n": 1, "kept": None})
    before = zone.rpc("get_agent", agent_id=agent_id)
    same = {name: before[name] for name in ("name", "description", "metadata", "capabilities")}
    with platform.unchanged():
        denied(zone, -32000, "agent_not_found", "update_agent", agent_id=new_id(), name="b")
        for params in ({}, same, {"name": same["name"]}, {"capabilities": ["a", "a"]}):
            assert zone.rpc("update_agent", agent_id=agent_id, **params) == before
    changes: dict[str, Any] = {"name": "after", "description": "", "metadata": {"n": True}, "capabilities": ["b", "a"]}
    for number, (name, value) in enumerate(changes.items(), 1):
        changed = zone.rpc("update_agent", agent_id=agent_id, **{name: value})
        assert changed == zone.rpc("get_agent", agent_id=agent_id)
        assert changed[name] == (sorted(value) if name == "capabilities" else value)
        assert changed["updated_at"] > before["updated_at"]
        assert told_of(zone, agent_id) == ["agent.registered", *["agent.updated"] * number]
    assert zone.rpc("get_agent", agent_id=agent_id)["metadata"]["n"] is True
    system.logs.wait("platform.agent.updated", zone_id=zone.zone_id, agent_id=agent_id, level="INFO")


@case("agents/003", "updateAgent result", "setAgentSpec 200")
def test_capabilities_are_one_set(zone: Zone) -> None:
    """The capabilities of registration and spec are one set: whoever changes them changes both (openapi: Agents)."""
    agent_id = registered(zone, capabilities=["a"])
    assert zone.rpc("update_agent", agent_id=agent_id, capabilities=["b"])["spec_generation"] == 0
    assert specified(zone, agent_id, capabilities=["c"])["spec_generation"] == 1
    assert zone.rpc("get_agent", agent_id=agent_id)["capabilities"] == ["c"]
    assert zone.rpc("update_agent", agent_id=agent_id, capabilities=["d"])["spec_generation"] == 2
    assert zone.rpc("update_agent", agent_id=agent_id, name="another")["spec_generation"] == 2
    assert specified(zone, agent_id, capabilities=["d"])["spec_generation"] == 2


@case("agents/004", "getAgent result", "deleteAgent result", "registerAgent result")
def test_an_agent_is_deleted_with_its_key(zone: Zone, platform: Platform, system: System) -> None:
    """A deleted agent is gone with its key, spec and capabilities; a later one of its id begins anew (platform.md)."""
    made = zone.rpc("register_agent", agent_id="worker-7", name="a", capabilities=["a"], generate_api_key=True)
    agent = Zone(platform.system.api, made["api_key"], zone.zone_id)
    moved(agent, "worker-7", "CONNECTED")
    specified(agent, "worker-7", capabilities=["a", "b"])
    key = system.db.value("select key_name from agents where zone_id = %s", zone.zone_id)
    assert zone.rpc("delete_agent", agent_id="worker-7") is True
    system.logs.wait("platform.agent.deleted", zone_id=zone.zone_id, agent_id="worker-7", level="INFO")
    system.logs.wait("sec.key.revoke", name=key)
    refused(agent.call("get_agent", agent_id="worker-7"), 401, "token_invalid")
    assert not {"agents", "agent_capabilities"} & platform.rows(zone.zone_id).keys()
    with platform.unchanged():
        assert zone.rpc("get_agent", agent_id="worker-7") is None
        assert zone.rpc("delete_agent", agent_id="worker-7") is False
    assert told_of(zone, "worker-7")[-1] == "agent.deleted"
    again = zone.rpc("register_agent", agent_id="worker-7", name="a")
    wanted = {"state": "UNKNOWN", "generation": 0, "spec_generation": 0, "capabilities": [], "has_api_key": False}
    assert {name: again[name] for name in wanted} == wanted
    refused(agent.call("get_agent", agent_id="worker-7"), 401, "token_invalid")


@case(
    "agents/005",
    "listAgents result",
    "listAgents zone_forbidden",
    "listAgents zone_not_found",
    "listAgentsByZone result",
    "listAgentsByZone zone_forbidden",
    "listAgentsByZone zone_not_found",
)
def test_lists_are_of_one_zone(zone: Zone, platform: Platform) -> None:
    """A list has the agents of one zone, newest first; `zone_id` chooses it where the key may, and wins (api)."""
    ids = [registered(zone) for _ in range(3)]
    moved(zone, ids[1], "CONNECTED")
    other = platform.zone()
    theirs = registered(other)

    def listed(caller: Zone, method: str, **params: Any) -> list[str]:
        return [agent["agent_id"] for agent in caller.rpc(method, **params)]

    assert listed(zone, "list_agents") == ids[::-1]
    assert listed(zone, "list_agents", state="CONNECTED") == [ids[1]]
    for method in ("list_agents", "agent_list_by_zone"):
        assert listed(zone, method, zone_id=zone.zone_id, state="UNKNOWN") == [ids[2], ids[0]]
        assert listed(platform.as_admin(zone.zone_id), method, zone_id=other.zone_id) == [theirs]
        with platform.unchanged():
            for foreign in (other.zone_id, "nobody-s", "root"):
                denied(zone, -32003, "zone_forbidden", method, zone_id=foreign)
            for nowhere in ("nobody-s", "..", ""):
                denied(platform.as_admin("root"), -32000, "zone_not_found", method, zone_id=nowhere)


@case("agents/006", "listAgents zone_terminating", "listAgentsByZone zone_terminating", "deleteZone 202")
def test_agents_of_a_zone_that_ends(platform: Platform) -> None:
    """A zone that ends is not listed by its name either; with it its agents go, and the keys of all of them (004)."""
    zone = platform.zone()
    keys = [zone.rpc("register_agent", agent_id=new_id(), name="a", generate_api_key=True) for _ in range(2)]
    specified(zone, keys[0]["agent_id"], capabilities=["a"])
    with frozen(background_process(platform.system)):
        accepted(platform.admin("DELETE", f"{ZONES}/{zone.zone_id}"), 202)
        with platform.unchanged():
            for method in ("list_agents", "agent_list_by_zone"):
                denied(platform.as_admin("root"), -32006, "zone_terminating", method, zone_id=zone.zone_id)
    platform.gone(zone.zone_id)
    assert platform.rows(zone.zone_id) == {}
    for made in keys:
        refused(Zone(platform.system.api, made["api_key"], zone.zone_id).call("list_agents"), 401, "token_invalid")


@case("agents/007", "moveAgent stale_generation", "moveAgent agent_not_found", "moveAgent result")
def test_a_transition_means_a_session(zone: Zone, platform: Platform) -> None:
    """A transition of another session is refused as stale, also where it is no transition at all (platform.md)."""
    agent_id = brought_to(zone, "CONNECTED")
    with platform.unchanged():
        denied(zone, -32000, "agent_not_found", "agent_transition", agent_id=new_id(), target_state="CONNECTED")
        for target in ("CONNECTED", "IDLE", "UNKNOWN"):
            params = {"agent_id": agent_id, "target_state": target, "expected_generation": 0}
            assert denied(zone, -32006, "stale_generation", "agent_transition", **params).message == "stale generation"
    assert moved(zone, agent_id, "IDLE", expected_generation=1) == 1
    assert moved(zone, agent_id, "CONNECTED", expected_generation=1) == 2


@case(
    "agents/008",
    "receiveAgentHeartbeat agent_not_connected",
    "receiveAgentHeartbeat stale_generation",
    "receiveAgentHeartbeat spec_generation_unknown",
    "receiveAgentHeartbeat agent_not_found",
)
def test_a_heartbeat_is_one_of_a_session(zone: Zone, platform: Platform) -> None:
    """Only a connected agent has heartbeats, of its session and of a spec that it has had; none is an event (api)."""
    beat = partial(zone.rpc, "agent_heartbeat")
    for state in ("UNKNOWN", "IDLE", "SUSPENDED"):
        other = brought_to(zone, state)
        with platform.unchanged():
            denied(zone, -32006, "agent_not_connected", "agent_heartbeat", agent_id=other)
            denied(zone, -32006, "stale_generation", "agent_heartbeat", agent_id=other, generation=7)
    with platform.unchanged():
        denied(zone, -32000, "agent_not_found", "agent_heartbeat", agent_id=new_id())
    agent_id = brought_to(zone, "CONNECTED")
    for kind in ("one", "two"):
        specified(zone, agent_id, agent_type=kind)
    before = platform.system.db.row(ROW, zone.zone_id)
    with platform.unchanged():
        for late in (3, 2**53):
            denied(
                zone, -32005, "spec_generation_unknown", "agent_heartbeat", agent_id=agent_id, observed_generation=late
            )
    beat(agent_id=agent_id, observed_generation=2, usage={"tokens_used": 5, "context_usage_pct": 100})
    beat(agent_id=agent_id, observed_generation=1, generation=1, usage={"storage_used_mb": 7})
    shown = status_of(zone, agent_id)
    assert shown["observed_generation"] == shown["conditions"][0]["observed_generation"] == 2
    assert shown["resource_usage"] == {"tokens_used": 5, "storage_used_mb": 7, "context_usage_pct": 100}
    assert platform.system.db.row(ROW, zone.zone_id) == before, "the zone's row was written to"
    assert zone.rpc("get_agent", agent_id=agent_id)["last_heartbeat"] == shown["last_heartbeat"]


@case("agents/009", "registerAgent result", "registerAgent agent_exists")
def test_twenty_register_one_agent(two_workers: System, platform_of_two: Platform) -> None:
    """Of 20 registrations of one id at once one succeeds, with its key; no other key is left (platform.md)."""
    zone = platform_of_two.zone()
    call = partial(zone.call, "register_agent", agent_id="worker-7", name="a", generate_api_key=True)
    seen = Counter(became(answer) for answer in race(two_workers, [call] * RACERS))
    assert seen == {"result": 1, "agent_exists": RACERS - 1}
    keys = "select count(*) from api_keys where zone = %s and role = 'agent'"
    assert two_workers.db.value(keys, zone.zone_id) == 1
    assert (zone.usage()["max_agents"], told_of(zone, "worker-7")) == (1, ["agent.registered"])


@case("agents/010", "callBatch 503", "callBatch result")
def test_an_unmounted_part_within_a_batch(two_workers: System, platform_of_two: Platform) -> None:
    """Of a batch the calls of an unmounted part are refused, and the others are made (platform.md: bricks)."""
    del two_workers
    platform, zone = platform_of_two, platform_of_two.zone()
    asked, written = request("list_agents"), request("write", {"path": "/a", "content": "text"})
    with unmounted(platform, "agents"):
        refused(zone.batch([asked, written]), 503, "brick_unmounted")
        first, second = accepted(zone.batch([written, asked]))
        assert first["result"]["size"] == 4
        assert second["error"]["data"]["code"] == "backend_unavailable"
    assert accepted(zone.batch([asked]))[0]["result"] == []


@case("agents/011", "registerAgent invalid_params", "receiveAgentHeartbeat invalid_params")
@pytest.mark.parametrize(
    "method, params",
    [
        ("register_agent", {"name": "a b", "agent_id": "a b"}),
        ("register_agent", {"name": "a" * 129}),
        ("register_agent", {"name": "a\x00"}),
        ("register_agent", {"description": "a\x00"}),
        ("register_agent", {"description": "a" * 1025}),
        ("register_agent", {"capabilities": ["a b"]}),
        ("register_agent", {"capabilities": [f"c{n}" for n in range(65)]}),
        ("register_agent", {"metadata": {"a\x00": 1}}),
        ("register_agent", {"metadata": {"a": "\x00"}}),
        ("register_agent", {"metadata": {"a": {"nested": 1}}}),
        ("register_agent", {"metadata": {str(n): n for n in range(65)}}),
        ("register_agent", {"generate_api_key": "yes"}),
        ("update_agent", {"name": None}),
        ("agent_transition", {"target_state": "DEAD"}),
        ("agent_transition", {"target_state": "IDLE", "expected_generation": -1}),
        ("agent_heartbeat", {"usage": {"context_usage_pct": 100.1}}),
        ("agent_heartbeat", {"usage": {"tokens_used": -1}}),
        ("agent_heartbeat", {"usage": {"tokens_used": 2**53 + 2}}),
        ("list_agents", {"state": "connected"}),
    ],
)
def test_parameters_are_bounded(method: str, params: dict[str, Any], zone: Zone, platform: Platform) -> None:
    """What is too long, too many or of another type is invalid_params, and changes nothing (api.md)."""
    sent = {} if method == "list_agents" else {"agent_id": "worker-7"}
    with platform.unchanged():
        denied(
            zone,
            -32602,
            "invalid_params",
            method,
            **sent | ({"name": "a"} if method == "register_agent" else {}) | params,
        )


@case(
    "agents/012",
    "registerAgent agent_forbidden",
    "updateAgent agent_forbidden",
    "getAgent agent_forbidden",
    "deleteAgent agent_forbidden",
    "moveAgent agent_forbidden",
    "receiveAgentHeartbeat agent_forbidden",
    "setAgentSpec 403",
    "queryAgents 200",
)
def test_an_agent_speaks_for_itself(zone: Zone, platform: Platform) -> None:
    """A key of role agent does with its own agent what a member may, names no other, and makes no key (api)."""
    agent, other = platform.agent(zone.zone_id, "worker-7"), registered(zone, "worker-8")
    with platform.unchanged():
        denied(agent, -32003, "agent_forbidden", "register_agent", agent_id="worker-7", name="a", generate_api_key=True)
        calls: dict[str, dict[str, Any]] = {
            "register_agent": {"name": "a"},
            "update_agent": {"name": "a"},
            "get_agent": {},
            "delete_agent": {},
            "agent_transition": {"target_state": "CONNECTED"},
            "agent_heartbeat": {},
        }
        for method, params in calls.items():
            for agent_id in (other, new_id()):
                denied(agent, -32003, "agent_forbidden", method, agent_id=agent_id, **params)
        for agent_id in (other, "nobody-s", "a b"):
            for answer in (specify(agent, agent_id), spec_of(agent, agent_id), warm_up(agent, agent_id)):
                refused(answer, 403, "agent_forbidden")
            refused(agent.request("GET", f"{AGENTS}/{agent_id}/status"), 403, "agent_forbidden")
        assert agent.rpc("list_agents") == agent.rpc("agent_list_by_zone", zone_id=zone.zone_id) == found(agent) == []
    assert registered(agent, "worker-7") == "worker-7"
    assert found(agent) == ["worker-7"]
    assert [one["agent_id"] for one in agent.rpc("list_agents")] == ["worker-7"]
    assert accepted(warm_up(agent, "worker-7"))["success"]
    agent.rpc("agent_heartbeat", agent_id="worker-7")
    assert specified(agent, "worker-7")["spec_generation"] == 1
    assert agent.rpc("delete_agent", agent_id="worker-7") is True
