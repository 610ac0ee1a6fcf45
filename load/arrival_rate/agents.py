"""Heartbeats of a platform's agents by JSON-RPC: what is sent, for whom, and what their rows say afterwards."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from harness.open_loop.exchange import Exchange
from harness.platform.seeding import agent_id, seed_agents
from load.arrival_rate.run import ArrivalRateRun
from load.arrival_rate.schedule import MEASURED, Leg, jitters
from load.arrival_rate.workload import LOG_ERRORS, Assignment, Checks, Observations, WorkerConfig, Workload, json_object
from load.arrival_rate.zones import SeededZones, calls_counted, in_words
from load.verdict.check import Finding, RunCheck, compared
from load.verdict.verdict import Facts
from load.workloads.agent_record import ZONES, AgentRecord, AgentRow, agent_faults

HEARTBEAT = "heartbeat"
_AGENTS: Final = "SELECT substr(agent_id, 7)::int, state, tokens_used FROM agents WHERE zone_id = %s"
_EVENTS: Final = "SELECT event_seq FROM zones WHERE zone_id = %s"


class AgentRequests:
    """Those of one process, each of its own agents in turns. tokens of the config: the key of a member of each zone."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._jitter = jitters(config.devices, config.seed)
        self._numbers = itertools.count(1)  # an agent's heartbeats have numbers that rise
        host = f"POST /api/nfs/agent_heartbeat HTTP/1.1\r\nHost: {urlsplit(config.base_url).netloc}\r\nAuthorization: "
        self._heads = [f"{host}Bearer {key}\r\nContent-Type: application/json\r\n" for key in config.tokens]
        self._number_of: dict[int, int] = {}  # of the heartbeat that an agent has on its way

    def of(self, leg: Leg) -> Iterator[Exchange]:
        """Those of a leg, in order of time."""
        config = self._config
        kind = HEARTBEAT if leg.kind == MEASURED else leg.kind
        for _, agent, at in leg.plan(self._jitter, config.index, config.processes):
            self._number_of[agent] = next(self._numbers)
            yield Exchange(at - config.ahead_s, self._request(agent), kind, agent)

    def accept(self, exchange: Exchange, record: AgentRecord) -> bool:
        """Whether the heartbeat was taken; notes where the agent's row must stand."""
        agent, answer = exchange.subject, json_object(exchange.body)
        number = self._number_of[agent]
        if exchange.status == 200 and answer.get("id") == number and answer.get("result") == {"ok": True}:
            record.last[agent] = number
            return True
        error = answer.get("error")
        told = error.get("message") if isinstance(error, dict) else answer.get("code", "")
        record.refusals[f"{exchange.status} {told}".strip()] += 1
        if error is None and (exchange.status < 400 or exchange.status >= 500):  # a refusal changes nothing
            record.unsure[agent] = number
        return False

    def _request(self, agent: int) -> bytes:
        number = self._number_of[agent]
        params = {"agent_id": agent_id(agent), "usage": {"tokens_used": number}}
        body = json.dumps({"jsonrpc": "2.0", "id": number, "params": params})
        request_id = f"X-Request-ID: {self._config.run}-{self._config.index}-{number}\r\n"
        return f"{self._heads[agent % ZONES]}{request_id}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def _agents(run: ArrivalRateRun, seen: Observations) -> Finding:
    record = run.ledger(AgentRecord)
    found = {agent: row for agents, _ in seen.rows.get() for agent, row in agents.items()}
    told = f"{len(found)} agents, {len(record.last)} heard of, {len(record.unsure)} unsure"
    return compared(agent_faults(record, found), told, sure=len(record.last), unsure=len(record.unsure))


def _events(_: ArrivalRateRun, seen: Observations) -> Finding:
    events = sum(count for _, count in seen.rows.get())
    return Finding([f"{events} events of zones whose agents were only heard of"] if events else [], f"{events} events")


CHECKS: Checks = (
    RunCheck("agents", "each agent stands at its last heartbeat, connected", _agents),
    RunCheck("events", "heartbeats leave no event", _events),
    calls_counted("agent_heartbeat"),
    LOG_ERRORS,
)


class SeededAgents(SeededZones):
    """Connected agents in thirty zones. A device of the assignment is an agent."""

    tables = "zones, agents"
    checks = CHECKS

    def numbers(self, part: Assignment) -> range:  # noqa: ARG002  # each process has agents in all of them
        return range(ZONES)

    def seed(self, whole: Assignment) -> None:
        super().seed(whole)
        seed_agents(self.url, self.label, ZONES, whole.devices)

    def look(self, number: int) -> tuple[dict[int, AgentRow], int]:
        """Its agents, and how many events it has."""
        with self.snapshot() as connection:
            agents = {one: AgentRow(*row) for one, *row in connection.execute(_AGENTS, [self.name(number)])}
            [(events,)] = connection.execute(_EVENTS, [self.name(number)])
        return agents, events

    def facts(self, run: ArrivalRateRun) -> Facts:
        return {"heartbeats that were refused": in_words(run.ledger(AgentRecord).refusals)}


AGENTS: Final = Workload(AgentRequests, AgentRecord, AgentRecord.from_dict, SeededAgents)
