"""Agents of a zone against a model in memory: any order of calls leaves states, generations and events as it says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from acceptance.platform.agents import LEGAL, STATES, found, specified, warm_up
from acceptance.platform.model import OfAZone, compare
from acceptance.platform.zones import Platform, error_of
from acceptance.suite.case import case
from acceptance.system.match import accepted

IDS = st.sampled_from(["a", "b"])
CAPABILITIES = st.lists(st.sampled_from(["p", "q"]), max_size=2)


@dataclass
class Model:
    """What an agent should be."""

    capabilities: set[str]
    state: str = "UNKNOWN"
    generation: int = 0
    spec_generation: int = 0

    def move(self, target: str) -> None:
        self.state = target
        self.generation += target == "CONNECTED"

    def change(self, capabilities: list[str], *, specifies: bool) -> None:
        """By an update, or by a spec that is otherwise always the same."""
        changed = self.capabilities != set(capabilities)
        if changed or (specifies and self.spec_generation == 0):
            self.spec_generation += specifies or self.spec_generation > 0
        self.capabilities = set(capabilities)


class Agents(OfAZone):
    """Calls of one zone, each with the same change of the model."""

    limits: ClassVar = {"max_agents": 2}

    def __init__(self) -> None:
        super().__init__()
        self._agents: dict[str, Model] = {}

    def _refused(self, kind: str, call: Callable[[], Any]) -> None:
        assert error_of(call).kind == kind

    @rule(agent_id=IDS, capabilities=CAPABILITIES)
    def register(self, agent_id: str, capabilities: list[str]) -> None:
        def call() -> Any:
            return self._zone.rpc("register_agent", agent_id=agent_id, name="a", capabilities=capabilities)

        if agent_id in self._agents:
            self._refused("agent_exists", call)
        else:
            call()
            self._agents[agent_id] = Model(set(capabilities))

    @rule(agent_id=IDS)
    def delete(self, agent_id: str) -> None:
        gone = self._zone.rpc("delete_agent", agent_id=agent_id)
        assert gone is (self._agents.pop(agent_id, None) is not None)

    @rule(agent_id=IDS, state=st.sampled_from(STATES), behind=st.integers(0, 1))
    def move(self, agent_id: str, state: str, behind: int) -> None:
        agent = self._agents.get(agent_id)
        expected = max(0, agent.generation - behind) if agent else 0
        params = {"agent_id": agent_id, "target_state": state, "expected_generation": expected}

        def call() -> Any:
            return self._zone.rpc("agent_transition", **params)

        if agent is None:
            self._refused("agent_not_found", call)
        elif expected != agent.generation:
            self._refused("stale_generation", call)
        elif (agent.state, state) not in LEGAL:
            self._refused("invalid_transition", call)
        else:
            agent.move(state)
            assert call()["generation"] == agent.generation

    @rule(agent_id=IDS)
    def heartbeat(self, agent_id: str) -> None:
        agent = self._agents.get(agent_id)

        def call() -> Any:
            return self._zone.rpc("agent_heartbeat", agent_id=agent_id)

        if agent is None:
            self._refused("agent_not_found", call)
        elif agent.state != "CONNECTED":
            self._refused("agent_not_connected", call)
        else:
            assert call() == {"ok": True}

    @rule(agent_id=IDS, capabilities=CAPABILITIES, specifies=st.booleans())
    def change(self, agent_id: str, capabilities: list[str], specifies: bool) -> None:
        if agent := self._agents.get(agent_id):
            agent.change(capabilities, specifies=specifies)
            if specifies:
                spec = specified(self._zone, agent_id, capabilities=capabilities)
                assert spec["spec_generation"] == agent.spec_generation
            else:
                self._zone.rpc("update_agent", agent_id=agent_id, capabilities=capabilities)

    @rule(agent_id=IDS)
    def warmup(self, agent_id: str) -> None:
        if agent := self._agents.get(agent_id):
            assert accepted(warm_up(self._zone, agent_id, {"name": "load_credentials"}))["success"]
            if agent.state != "CONNECTED":
                agent.move("CONNECTED")

    @invariant()
    def is_as_the_model_says(self) -> None:
        shown = {one["agent_id"]: one for one in self._zone.rpc("list_agents")}
        assert shown.keys() == self._agents.keys()
        for agent_id, agent in self._agents.items():
            names = ("state", "generation", "spec_generation")
            assert [shown[agent_id][name] for name in names] == [getattr(agent, name) for name in names]
            assert shown[agent_id]["capabilities"] == sorted(agent.capabilities)
        holders = {agent_id for agent_id, agent in self._agents.items() if "p" in agent.capabilities}
        assert set(found(self._zone, ("capability", "p"))) == holders
        assert self._zone.usage()["max_agents"] == len(self._agents)


@case("agent-model/001", slow="some 2,000 requests")
def test_agents_are_as_a_model_says(platform: Platform) -> None:
    """Whatever calls come in whatever order, states, generations, sets and usage are what a model says (issue 18)."""
    compare(Agents, platform)
