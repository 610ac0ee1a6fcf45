"""The spec of an agent: echoed, under a generation of its own for each change, replaced only as it is expected."""

from functools import partial
from typing import Any

import pytest

from acceptance.platform.agents import AGENTS, new_id, registered, spec_of, specified, specify, told_of
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.system import System
from acceptance.system.web_workers import both, race
from harness.platform.zone import Zone

RACERS = 20
WHOLE: dict[str, Any] = {
    "agent_type": "worker",
    "capabilities": ["search", "python", "search"],
    "resource_requests": {"token_budget": 0, "token_request": 100},
    "resource_limits": {"storage_limit_mb": 5, "context_limit": 2**53},
    "qos_class": "premium",
    "zone_affinity": "eu-west",
}
DEFAULTS: dict[str, Any] = {
    "resource_requests": {},
    "resource_limits": {},
    "qos_class": "standard",
    "zone_affinity": None,
}


@case("agent-spec/001", "setAgentSpec 200", "getAgentSpec 200")
def test_a_spec_is_echoed(two_workers: System, platform_of_two: Platform) -> None:
    """A spec comes back as it was given, its capabilities as a sorted set, what was left out by its default (api)."""
    zone = platform_of_two.zone()
    agent_id = registered(zone)
    with both(two_workers):
        for number, given in enumerate((WHOLE, {"agent_type": "other"}), 1):
            answer = specify(zone, agent_id, **given)
            capabilities = sorted(set(given.get("capabilities", ())))
            wanted = {"agent_id": agent_id, **DEFAULTS, **given, "capabilities": capabilities}
            assert accepted(answer) == wanted | {"spec_generation": number}
            for _ in range(2):
                shown = spec_of(zone, agent_id)
                assert accepted(shown) == accepted(answer)
                assert shown.headers["etag"] == answer.headers["etag"] == f'"{number}"'
    agent = zone.rpc("get_agent", agent_id=agent_id)
    assert (agent["agent_type"], agent["qos_class"], agent["spec_generation"]) == ("other", "standard", 2)


@case("agent-spec/002", "setAgentSpec 200")
def test_an_equal_spec_keeps_its_generation(zone: Zone, platform: Platform, system: System) -> None:
    """Each change is a generation and an event, an equal spec is neither (platform.md: spec_generation)."""
    agent_id = registered(zone)
    specified(zone, agent_id, **WHOLE)
    with platform.unchanged():
        for same in (WHOLE, WHOLE | {"capabilities": ["python", "search"]}):
            assert specified(zone, agent_id, **same)["spec_generation"] == 1
    others = {
        "agent_type": "another",
        "capabilities": ["python"],
        "resource_requests": {"token_budget": 0},
        "resource_limits": {},
        "qos_class": "spot",
        "zone_affinity": "eu-east",
    }
    for number, (name, value) in enumerate(others.items(), 2):
        assert specified(zone, agent_id, **WHOLE | {name: value})["spec_generation"] == 2 * number - 2
        assert specified(zone, agent_id, **WHOLE)["spec_generation"] == 2 * number - 1
    assert told_of(zone, agent_id) == ["agent.registered", *["agent.spec"] * 13]
    wanted = {"zone_id": zone.zone_id, "agent_id": agent_id, "spec_generation": 13}
    system.logs.wait("platform.agent.spec", level="INFO", **wanted)


@case("agent-spec/003", "setAgentSpec 412", "setAgentSpec 200")
def test_a_spec_is_replaced_as_expected(zone: Zone, platform: Platform) -> None:
    """With If-Match a spec is given only over the generation that it names (RFC 9110: 13.1.1)."""
    agent_id = registered(zone)

    def give(expected: str, kind: str) -> Any:
        return specify(zone, agent_id, headers=[("If-Match", expected)], agent_type=kind)

    with platform.unchanged():
        for wrong in ("*", '"0"', '"1"'):
            refused(give(wrong, "first"), 412, "precondition_failed")
    specified(zone, agent_id, agent_type="first")
    with platform.unchanged():
        for wrong in ('"2"', 'W/"1"', "1", ""):
            refused(give(wrong, "second"), 412, "precondition_failed")
    assert accepted(give('"1"', "second"))["spec_generation"] == 2
    assert accepted(give('"7", "2"', "third"))["spec_generation"] == 3
    assert accepted(give("*", "fourth"))["spec_generation"] == 4


@case("agent-spec/004", "setAgentSpec 200", "setAgentSpec 412")
@pytest.mark.parametrize("conditional", [False, True])
def test_twenty_specs_at_once(conditional: bool, two_workers: System, platform_of_two: Platform) -> None:
    """Specs that are given at once have distinct generations; of those over one generation one is taken (api)."""
    zone = platform_of_two.zone()
    agent_id = registered(zone)
    specified(zone, agent_id)
    headers = [("If-Match", '"1"')] if conditional else []
    calls = [partial(specify, zone, agent_id, headers=headers, agent_type=f"n{number}") for number in range(RACERS)]
    answers = race(two_workers, calls)
    given = sorted(accepted(answer)["spec_generation"] for answer in answers if answer.status == 200)
    assert given == ([2] if conditional else [*range(2, RACERS + 2)])
    for answer in answers:
        if answer.status != 200:
            refused(answer, 412, "precondition_failed")
    assert told_of(zone, agent_id).count("agent.spec") == 1 + len(given)


@case("agent-spec/005", "getAgentSpec 404", "setAgentSpec 404", "getAgentStatus 404", "warmUpAgent 404")
def test_there_is_no_such_agent(zone: Zone, platform: Platform) -> None:
    """An agent that is not there, or cannot be, is a 404, in another zone too; so is a spec that is not given (api)."""
    bare = registered(zone)
    foreign = registered(platform.zone())
    with platform.unchanged():
        refused(spec_of(zone, bare), 404, "agent_spec_not_found")
        for agent_id in (new_id(), foreign, "a b", "a%00", "a" * 129):
            refused(spec_of(zone, agent_id), 404, "agent_not_found")
            refused(specify(zone, agent_id), 404, "agent_not_found")
            refused(zone.request("GET", f"{AGENTS}/{agent_id}/status"), 404, "agent_not_found")
            refused(zone.request("POST", f"{AGENTS}/{agent_id}/warmup", json={}), 404, "agent_not_found")


@case("agent-spec/006", "setAgentSpec 422")
@pytest.mark.parametrize(
    "wrong",
    [
        {"agent_type": ""},
        {"qos_class": "gold"},
        {"capabilities": ["a b"]},
        {"capabilities": [f"c{number}" for number in range(65)]},
        {"resource_requests": {"token_budget": -1}},
        {"resource_limits": {"context_limit": 2**53 + 2}},
        {"resource_limits": {"gpu": 1}},
        {"zone_affinity": None},
        {"nobody_knows_it": 1},
    ],
    ids=str,
)
def test_a_spec_that_is_none(wrong: dict[str, Any], zone: Zone, platform: Platform) -> None:
    """What is no spec is a 422 that points at it, and changes nothing (platform.md: spec)."""
    agent_id = registered(zone)
    with platform.unchanged():
        problem = refused(specify(zone, agent_id, **wrong), 422, "validation_error")
    [name] = wrong
    assert all(pointer.startswith(f"/body/{name}") or pointer == "/body" for pointer in pointers(problem))


@case("agent-spec/007", "queryAgents 422", "queryAgents 200", "getAgentSpec 422", "getAgentStatus 422")
def test_a_query_is_bounded(zone: Zone, platform: Platform) -> None:
    """A filter that can find nothing is a 422, as a cursor that is none; only capabilities are repeated (api)."""
    many = [("capability", f"c{number}") for number in range(17)]
    with platform.unchanged():
        for wrong in (
            many,
            [("any_capability", "a b")],
            [("state", "DEAD")],
            [("qos_class", "gold")],
            [("cursor", "A")],
        ):
            refused(zone.request("GET", AGENTS, params=wrong), 422, "validation_error")
        refused(zone.request("GET", AGENTS, params=[("state", "IDLE")] * 2), 422, "validation_error")
        for path in (AGENTS, f"{AGENTS}/worker-7/spec", f"{AGENTS}/worker-7/status"):
            refused(zone.request("GET", path, params=[("nobody", "1")] * 2), 422, "validation_error")
    accepted(zone.request("GET", AGENTS, params=many[:16]))
