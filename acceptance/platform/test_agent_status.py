"""How an agent is: its phase, since when it is ready or not, and what becomes of one that falls silent."""

from acceptance.platform.agents import (
    STATES,
    TTL_S,
    brought_to,
    moved,
    readiness,
    registered,
    silent_for,
    specified,
    status_of,
    told_of,
)
from acceptance.platform.zones import Platform
from acceptance.suite.case import case
from acceptance.system.system import FreshBackend, System
from acceptance.system.web_workers import kill, web_processes
from harness.platform.zone import Zone
from harness.waiting import eventually

SEEN = {
    "UNKNOWN": ("warming", "False", "NeverConnected"),
    "CONNECTED": ("active", "True", "Connected"),
    "IDLE": ("idle", "False", "Idle"),
    "SUSPENDED": ("suspended", "False", "Suspended"),
}


@case("agent-status/001", "getAgentStatus 200")
def test_each_state_has_its_phase(zone: Zone) -> None:
    """An agent has a status from its registration on, with a phase and a reason for each state (platform.md)."""
    for state in STATES:
        agent_id = brought_to(zone, state)
        shown = status_of(zone, agent_id)
        assert (shown["phase"], *readiness(zone, agent_id)) == SEEN[state]
        assert shown["agent_id"] == agent_id
        assert (shown["observed_generation"], shown["inbox_depth"], shown["last_heartbeat"]) == (0, 0, None)
        assert shown["last_activity"] == zone.rpc("get_agent", agent_id=agent_id)["updated_at"]


@case("agent-status/002", "getAgentStatus 200")
def test_since_when_an_agent_is_ready(zone: Zone, platform: Platform) -> None:
    """A condition says when its status changed, and no later: not with each heartbeat, nor with its reason (api)."""

    def since() -> str:
        return str(status_of(zone, agent_id)["conditions"][0]["last_transition"])

    agent_id = registered(zone)
    never = since()
    assert never == zone.rpc("get_agent", agent_id=agent_id)["created_at"]
    moved(zone, agent_id, "CONNECTED")
    connected = since()
    assert connected > never
    zone.rpc("agent_heartbeat", agent_id=agent_id)
    specified(zone, agent_id)
    assert since() == connected
    silent_for(platform, zone, agent_id, 2 * TTL_S)
    overdue = since()
    assert overdue < connected
    moved(zone, agent_id, "IDLE")
    moved(zone, agent_id, "SUSPENDED")
    assert (since(), readiness(zone, agent_id)) == (overdue, ("False", "Suspended"))
    moved(zone, agent_id, "CONNECTED")
    moved(zone, agent_id, "SUSPENDED")
    assert since() == zone.rpc("get_agent", agent_id=agent_id)["updated_at"]


@case("agent-status/003", "getAgentStatus 200")
def test_a_silent_agent_becomes_idle(sweeping: Platform) -> None:
    """Without a heartbeat for three times its validity agents become idle, in each zone, with event and line (api)."""
    system, zones = sweeping.system, [sweeping.zone() for _ in range(2)]
    silent = [(zone, brought_to(zone, "CONNECTED")) for zone in zones]
    heard = [(zone, brought_to(zone, "CONNECTED")) for zone in zones]
    others = [brought_to(zones[0], state) for state in STATES if state != "CONNECTED"]
    zones[0].rpc("agent_heartbeat", agent_id=silent[0][1])
    for zone, agent_id in heard:
        silent_for(sweeping, zone, agent_id, 3 * TTL_S - 10)
    for agent_id in others:
        silent_for(sweeping, zones[0], agent_id, 4 * TTL_S)
    before = {agent_id: told_of(zones[0], agent_id) for agent_id in others}
    moves = {"nexmdm_platform_agents_silent_total": 2, 'nexmdm_platform_agent_transitions_total{state="IDLE"}': 2}
    with system.metrics.moves(moves, within_s=10.0):
        for zone, agent_id in silent:
            silent_for(sweeping, zone, agent_id, 3 * TTL_S + 10)
        for zone, agent_id in silent:
            wanted = {"zone_id": zone.zone_id, "agent_id": agent_id, "generation": 1}
            system.logs.wait("platform.agent.silent", level="WARNING", route="worker:agents", **wanted)
    for zone, agent_id in silent:
        agent = zone.rpc("get_agent", agent_id=agent_id)
        assert (agent["state"], agent["generation"]) == ("IDLE", 1)
        assert told_of(zone, agent_id) == ["agent.registered", *["agent.transition"] * 2]
        assert moved(zone, agent_id, "CONNECTED") == 2
    for zone, agent_id in heard:
        assert readiness(zone, agent_id) == ("False", "HeartbeatTimeout")
        assert zone.rpc("get_agent", agent_id=agent_id)["state"] == "CONNECTED"
    assert {agent_id: told_of(zones[0], agent_id) for agent_id in others} == before


@case("agent-status/004")
def test_agents_are_counted_by_state(sweeping: Platform) -> None:
    """A gauge has how many agents are in each state, of all zones (issue 18: metrics)."""
    counts = "select count(*) from agents where state = %s"
    for zone in (sweeping.zone(), sweeping.zone()):
        for state in STATES:
            brought_to(zone, state)

    def is_told() -> bool:
        for state in STATES:
            told = sweeping.system.metrics.total(f'nexmdm_platform_agents{{state="{state}"}}')
            assert told == sweeping.system.db.value(counts, state) >= 2, state
        return True

    eventually(is_told, within_s=5.0)


@case("agent-status/005", "receiveAgentHeartbeat result", "getAgentStatus 200", slow="kills its backend")
def test_a_heartbeat_survives(fresh_backend: FreshBackend) -> None:
    """What an acknowledged heartbeat, spec and transition said is there after kill -9 (004: agent/002)."""
    system: System = fresh_backend()
    zone = Platform(system).zone()
    agent_id = brought_to(zone, "CONNECTED")
    specified(zone, agent_id, capabilities=["python"])
    zone.rpc("agent_heartbeat", agent_id=agent_id, observed_generation=1, usage={"tokens_used": 7})
    before = status_of(zone, agent_id), zone.rpc("get_agent", agent_id=agent_id), told_of(zone, agent_id)
    [victim] = web_processes(system)
    kill(system, victim)
    eventually(lambda: web_processes(system) != [victim], within_s=10.0)
    system.api.reconnect()
    assert (status_of(zone, agent_id), zone.rpc("get_agent", agent_id=agent_id), told_of(zone, agent_id)) == before
