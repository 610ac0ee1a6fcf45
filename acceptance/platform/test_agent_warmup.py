"""The warmup of an agent: its steps, what becomes of the agent, and that one runs at a time."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import psycopg
import pytest

from acceptance.platform.agents import AGENTS, brought_to, registered, specified, status_of, told_of, warm_up
from acceptance.platform.bricks import unmounted
from acceptance.platform.test_zone_requests import blocked
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.match import accepted, pointers, refused
from acceptance.system.system import System
from acceptance.system.web_workers import race
from harness.http.client import Answer
from harness.platform.zone import Zone
from harness.waiting import eventually

ALL = ["load_credentials", "verify_bricks", "reach_storage", "warm_caches"]
PINNED = "select count(*) from objects where zone_id = %s and pinned_until > clock_timestamp()"
ZONE_LOCK = "select from zones where zone_id = %s for update"


def step(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, **more}


def became(answer: Answer) -> tuple[list[str], list[str], str | None]:
    """What was completed, what was skipped, what failed."""
    result = accepted(answer)
    assert result["success"] is (result["failed_step"] is None) is (result["error"] is None)
    return result["steps_completed"], result["steps_skipped"], result["failed_step"]


@case("agent-warmup/001", "warmUpAgent 200", "getAgentStatus 200")
@pytest.mark.parametrize("state", ["UNKNOWN", "IDLE", "SUSPENDED"])
def test_a_warmup_connects(state: str, zone: Zone, platform: Platform, system: System) -> None:
    """A warmup takes its steps and connects the agent, which observes its spec; it leaves no object behind (api)."""
    agent_id = brought_to(zone, state)
    specified(zone, agent_id)
    before = zone.rpc("get_agent", agent_id=agent_id)["generation"]
    with system.metrics.moves({'nexmdm_platform_agent_warmups_total{outcome="connected"}': 1}):
        answer = warm_up(zone, agent_id)
    assert became(answer) == (ALL[1:3], [ALL[0], ALL[3]], None)
    assert accepted(answer)["duration_ms"] > 0
    agent, shown = zone.rpc("get_agent", agent_id=agent_id), status_of(zone, agent_id)
    assert (agent["state"], agent["generation"]) == ("CONNECTED", before + 1)
    assert (shown["phase"], shown["observed_generation"]) == ("active", 1)
    assert told_of(zone, agent_id)[-1] == "agent.transition"
    wanted = {"zone_id": zone.zone_id, "agent_id": agent_id, "generation": before + 1}
    system.logs.expect(answer, "platform.agent.transition", state="CONNECTED", **wanted)
    system.logs.expect(answer, "platform.agent.warmup", outcome="connected", failed_step=None, agent_id=agent_id)
    assert platform.objects(platform.folder(zone.zone_id)) == []
    assert system.db.value(PINNED, zone.zone_id) == 0


@case("agent-warmup/002", "warmUpAgent 200")
def test_the_key_of_an_agent_is_looked_at(zone: Zone, platform: Platform, system: System) -> None:
    """A key that is good is a completed step; one that is revoked fails the warmup, and nothing changes (api)."""
    for agent_id in ("good", "revoked"):
        registered(zone, agent_id, generate_api_key=True)
    platform.write(
        "update api_keys set revoked_at = now() where zone = %(zone)s and subject = 'revoked'", zone=zone.zone_id
    )
    assert became(warm_up(zone, "good", step(ALL[0]))) == ([ALL[0]], [], None)
    assert zone.rpc("get_agent", agent_id="revoked")["has_api_key"] is False
    moves = {'nexmdm_platform_agent_warmups_total{outcome="failed"}': 1}
    with platform.unchanged(), system.metrics.moves(moves):
        answer = warm_up(zone, "revoked", step(ALL[1]), step(ALL[0]), step(ALL[2]))
        assert became(answer) == ([ALL[1]], [], ALL[0])
    assert accepted(answer)["error"] == "the key of the agent is revoked"
    system.logs.expect(answer, "platform.agent.warmup", outcome="failed", failed_step=ALL[0], level="INFO")
    optional = warm_up(zone, "revoked", step(ALL[0], required=False))
    assert became(optional) == ([], [ALL[0]], None)
    assert zone.rpc("get_agent", agent_id="revoked")["state"] == "CONNECTED"


@case("agent-warmup/003", "warmUpAgent 200")
def test_what_an_agent_needs_is_there(sweeping: Platform) -> None:
    """A part that is unmounted, or a store that cannot be written, fails the step that looks at it (platform.md)."""
    platform, zone = sweeping, sweeping.zone()
    agent_id = registered(zone)
    zone.write("/large", "x" * 70_000)  # there is a folder
    with unmounted(platform, "files"):
        answer = warm_up(zone, agent_id, step(ALL[1]))
        assert became(answer) == ([], [], ALL[1])
        assert accepted(answer)["error"] == "unmounted: files"
    with platform.store.away():
        answer = warm_up(zone, agent_id)
        assert became(answer) == ([ALL[1]], [ALL[0]], ALL[2])
        assert accepted(answer)["error"] == "the object store cannot be written and read"
    assert zone.rpc("get_agent", agent_id=agent_id)["state"] == "UNKNOWN"
    assert became(warm_up(zone, agent_id, step(ALL[2]))) == ([ALL[2]], [], None)


@case("agent-warmup/004", "warmUpAgent 422", "warmUpAgent 200")
def test_steps_that_are_not_known(zone: Zone, platform: Platform) -> None:
    """A required step that is not known is a 422 that points at it, an optional one is skipped (platform.md)."""
    agent_id = registered(zone)
    with platform.unchanged():
        problem = refused(warm_up(zone, agent_id, step(ALL[1]), step("dance")), 422, "validation_error")
        assert pointers(problem) == {"/body/steps/1/name"}
        wrong: tuple[dict[str, Any], ...] = (
            {"name": ""},
            {"name": ALL[1], "timeout_seconds": 0},
            {"name": ALL[1], "timeout_seconds": 301},
            {},
        )
        for one in wrong:
            refused(warm_up(zone, agent_id, one), 422, "validation_error")
        refused(warm_up(zone, agent_id, *[step(ALL[1])] * 9), 422, "validation_error")
    assert became(warm_up(zone, agent_id, step("dance", required=False))) == ([], ["dance"], None)
    with platform.unchanged():
        for again in (step(ALL[1]), step("dance", required=False)):
            assert became(warm_up(zone, agent_id, again)) == ([], [], None), "it is connected"
    bare = registered(zone)
    assert became(zone.request("POST", f"{AGENTS}/{bare}/warmup")) == (ALL[1:3], [ALL[0], ALL[3]], None)
    assert accepted(zone.request("POST", f"{AGENTS}/{bare}/warmup", json={"steps": []}))["success"]


@case("agent-warmup/005", "warmUpAgent 409", "warmUpAgent 200")
def test_a_second_warmup_at_once(zone: Zone, platform: Platform) -> None:
    """While a warmup runs a second one is a 409; one whose process died stands in nobody's way for long (api)."""
    agent_id = registered(zone)
    with psycopg.connect(platform.system.target.database_url or "") as owner, ThreadPoolExecutor(1) as pool:
        owner.execute(ZONE_LOCK, [zone.zone_id])
        running = pool.submit(warm_up, zone, agent_id)
        eventually(partial(blocked, platform.system, 1), within_s=4.0)
        with platform.unchanged():
            refused(warm_up(zone, agent_id), 409, "warmup_running")
        owner.rollback()
        assert accepted(running.result())["success"]
    died = registered(zone)
    begun = """
        update agents set warmup = gen_random_uuid(), warmup_until = now() + make_interval(secs => %(left)s)
        where zone_id = %(zone)s and agent_id = %(agent)s
    """
    platform.write(begun, zone=zone.zone_id, agent=died, left=60)
    refused(warm_up(zone, died), 409, "warmup_running")
    platform.write(begun, zone=zone.zone_id, agent=died, left=-1)
    assert accepted(warm_up(zone, died))["success"]


@case("agent-warmup/006", "warmUpAgent 200", "warmUpAgent 409")
def test_twenty_warmups_at_once(two_workers: System, platform_of_two: Platform) -> None:
    """Of 20 warmups at once one connects the agent; the others are told that it runs, or that it is done (api)."""
    zone = platform_of_two.zone()
    agent_id = registered(zone)
    seen = Counter(answer.status for answer in race(two_workers, [partial(warm_up, zone, agent_id)] * 20))
    assert seen.keys() <= {200, 409}
    assert seen[200] >= 1
    assert zone.rpc("get_agent", agent_id=agent_id)["generation"] == 1
    assert told_of(zone, agent_id) == ["agent.registered", "agent.transition"]


@case("agent-warmup/007", "warmUpAgent 200")
def test_a_step_has_its_time(zone: Zone, platform: Platform) -> None:
    """A step that is not done in its time fails, and the agent is free again (platform.md: timeout_seconds)."""
    agent_id = registered(zone)
    with psycopg.connect(platform.system.target.database_url or "") as owner:
        owner.execute("lock table objects in access exclusive mode")
        answer = warm_up(zone, agent_id, step(ALL[2], timeout_seconds=0.2))
        owner.rollback()
    assert became(answer) == ([], [], ALL[2])
    assert accepted(answer)["error"] == "not done within 0.2 s"
    assert accepted(warm_up(zone, agent_id))["success"]
