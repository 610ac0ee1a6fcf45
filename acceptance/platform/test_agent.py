"""The rows `agent` of seed 004: registered, heard of, found by what it can do, moved through its states."""

from collections import Counter
from functools import partial

import pytest

from acceptance.platform.agents import (
    LEGAL,
    STATES,
    TTL_S,
    brought_to,
    found,
    moved,
    new_id,
    readiness,
    registered,
    silent_for,
    specified,
    status_of,
    told_of,
)
from acceptance.platform.zones import Platform, denied
from acceptance.suite.case import case
from acceptance.system.system import System
from acceptance.system.web_workers import both, race
from harness.http.client import Answer
from harness.platform.zone import Zone

pytestmark = [pytest.mark.auto, pytest.mark.agent]

RACERS = 20
ROW = "select name, state, generation, key_name, user_id from agents where zone_id = %s and agent_id = %s"
KEY = "select role, zone, subject, key_hash = encode(sha256(%s::bytea), 'hex') as hashed from api_keys where name = %s"


@case("agent/001", "registerAgent result", "getAgent result", "listAgents result", "listAgentsByZone result")
def test_an_agent_is_in_the_registry(two_workers: System, platform_of_two: Platform) -> None:
    """A registered agent is got and listed by every worker, with its spec; its key acts as itself (004)."""
    platform, zone, agent_id = platform_of_two, platform_of_two.zone(), new_id()
    with both(two_workers):
        made = zone.rpc(
            "register_agent", agent_id=agent_id, name="Worker", capabilities=["b", "a", "b"], metadata={"n": 1},
            generate_api_key=True,
        )  # fmt: skip
        key = made.pop("api_key")
        assert made["capabilities"] == ["a", "b"]
        assert (made["state"], made["generation"], made["has_api_key"]) == ("UNKNOWN", 0, True)
        assert made["metadata"] == {"n": 1}
        for _ in range(4):
            assert zone.rpc("get_agent", agent_id=agent_id) == made
            assert zone.rpc("list_agents") == zone.rpc("agent_list_by_zone", zone_id=zone.zone_id) == [made]
        assert specified(zone, agent_id, capabilities=["c", "a"])["capabilities"] == ["a", "c"]
        row = two_workers.db.row(ROW, zone.zone_id, agent_id)
        assert (row["name"], row["state"], row["generation"]) == ("Worker", "UNKNOWN", 0)
        assert two_workers.db.row(KEY, key, row["key_name"]) == {
            "role": "agent", "zone": zone.zone_id, "subject": agent_id, "hashed": True,
        }  # fmt: skip
        agent = Zone(platform.system.api, key, zone.zone_id)
        moved(agent, agent_id, "CONNECTED")
        agent.write("/a", "text")
    assert told_of(zone, agent_id) == ["agent.registered", "agent.spec", "agent.transition", "write"]
    two_workers.logs.wait("platform.agent.registered", zone_id=zone.zone_id, agent_id=agent_id, level="INFO")
    two_workers.logs.wait("sec.key.create", name=row["key_name"], role="agent", zone=zone.zone_id)


@case("agent/002", "receiveAgentHeartbeat result", "getAgentStatus 200")
def test_a_heartbeat_updates_the_status(zone: Zone, platform: Platform) -> None:
    """A heartbeat moves last_heartbeat and readiness; silence ends it, with its reason (004)."""
    agent_id = brought_to(zone, "CONNECTED")
    shown = status_of(zone, agent_id)
    assert (shown["phase"], shown["last_heartbeat"], shown["inbox_depth"]) == ("active", None, 0)
    assert readiness(zone, agent_id) == ("True", "Connected")
    silent_for(platform, zone, agent_id, TTL_S - 5)
    assert readiness(zone, agent_id) == ("True", "Connected")
    silent_for(platform, zone, agent_id, 10)
    assert readiness(zone, agent_id) == ("False", "HeartbeatTimeout")
    with platform.unchanged():
        denied(zone, -32000, "agent_not_found", "agent_heartbeat", agent_id=new_id())
        denied(zone, -32006, "stale_generation", "agent_heartbeat", agent_id=agent_id, generation=2)
    usage = {"tokens_used": 12, "storage_used_mb": 3, "context_usage_pct": 37.5}
    assert zone.rpc("agent_heartbeat", agent_id=agent_id, generation=1, usage=usage) == {"ok": True}
    heard = status_of(zone, agent_id)
    assert heard["last_activity"] == heard["last_heartbeat"] > shown["last_activity"]
    assert (heard["resource_usage"], heard["context_usage_pct"]) == (usage, 37.5)
    assert heard["conditions"][0]["last_transition"] > shown["conditions"][0]["last_transition"]
    assert readiness(zone, agent_id) == ("True", "Connected")
    silent_for(platform, zone, agent_id, TTL_S + 5)
    assert readiness(zone, agent_id) == ("False", "HeartbeatTimeout")
    assert zone.rpc("get_agent", agent_id=agent_id)["state"] == "CONNECTED"


@case("agent/003", "queryAgents 200")
def test_agents_are_found_by_what_they_can_do(zone: Zone, platform: Platform) -> None:
    """A query finds exactly the holders of all, or of any, capabilities, page by page, as specs change (004)."""
    other = platform.zone()
    registered(other, capabilities=["python", "search"])
    ids = [registered(zone, capabilities=["python"] if number % 2 else ["python", "search"]) for number in range(5)]
    bare = registered(zone)
    newest_first = ids[::-1]
    assert found(zone, ("limit", "2")) == [bare, *newest_first]
    assert found(zone, ("capability", "python"), ("limit", "2")) == newest_first
    assert found(zone, ("capability", "python"), ("capability", "search")) == newest_first[::2]
    assert found(zone, ("capability", "python"), ("capability", "python")) == newest_first
    assert found(zone, ("any_capability", "search"), ("any_capability", "nobody")) == newest_first[::2]
    assert found(zone, ("capability", "pyth")) == found(zone, ("any_capability", "Python")) == []
    specified(zone, bare, capabilities=["search"], qos_class="spot")
    specified(zone, ids[0], capabilities=["python"])
    assert found(zone, ("capability", "search")) == [bare, *newest_first[::2][:-1]]
    assert found(zone, ("capability", "search"), ("qos_class", "spot")) == [bare]
    moved(zone, ids[1], "CONNECTED")
    assert found(zone, ("any_capability", "python"), ("state", "CONNECTED")) == [ids[1]]
    zone.rpc("delete_agent", agent_id=bare)
    assert found(zone, ("capability", "search")) == newest_first[::2][:-1]


@case("agent/004", "moveAgent result", "moveAgent invalid_transition", "getAgent result")
def test_each_pair_of_states(zone: Zone, platform: Platform, system: System) -> None:
    """Of all 16 pairs of states six are transitions; each connection is a new generation (004)."""
    for start in STATES:
        for target in STATES:
            agent_id = brought_to(zone, start)
            before = zone.rpc("get_agent", agent_id=agent_id)
            if (start, target) in LEGAL:
                generation = moved(zone, agent_id, target)
                assert generation == before["generation"] + (target == "CONNECTED"), (start, target)
                wanted = {"zone_id": zone.zone_id, "agent_id": agent_id, "state": target, "generation": generation}
                system.logs.wait("platform.agent.transition", **wanted)
            else:
                with platform.unchanged():
                    error = denied(
                        zone, -32006, "invalid_transition", "agent_transition", agent_id=agent_id, target_state=target
                    )
                assert error.message == f"invalid transition {start} -> {target}"
            after = zone.rpc("get_agent", agent_id=agent_id)
            assert after["state"] == (target if (start, target) in LEGAL else start)


@case("agent/005", "moveAgent result", "moveAgent invalid_transition", "moveAgent stale_generation")
@pytest.mark.parametrize("pair", sorted(LEGAL), ids=lambda pair: "-".join(pair).lower())
def test_twenty_race_for_a_transition(pair: tuple[str, str], two_workers: System, platform_of_two: Platform) -> None:
    """Of 20 that make a transition at once, through two workers, one does; the log has it once, in its order (004)."""
    start, target = pair
    zone = platform_of_two.zone()
    agent_id = brought_to(zone, start)
    before = zone.rpc("get_agent", agent_id=agent_id)["generation"]
    expected = {"expected_generation": before} if target == "CONNECTED" else {}
    call = partial(zone.call, "agent_transition", agent_id=agent_id, target_state=target, **expected)
    seen = Counter(became(answer) for answer in race(two_workers, [call] * RACERS))
    loser = "stale_generation" if expected else "invalid_transition"
    assert seen == {"result": 1, loser: RACERS - 1}
    agent = zone.rpc("get_agent", agent_id=agent_id)
    assert (agent["state"], agent["generation"]) == (target, before + (target == "CONNECTED"))
    events = zone.log(agent_id=agent_id)
    assert len(events) == 2 + len({"UNKNOWN": "", "CONNECTED": "1"}.get(start, "12"))
    numbers = [event["sequence_number"] for event in zone.log()]
    assert numbers == list(range(1, len(numbers) + 1))


def became(answer: Answer) -> str:
    body = answer.json()
    return "result" if "result" in body else str(body["error"]["data"]["code"])
