"""What the demonstration has left behind: the rows of the zones that stay, and the log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, LiteralString, NamedTuple

import psycopg

from harness.http.client import Client
from harness.settings import Target
from load.measurements.observations import Before, LogErrors, Part, count_errors, observed
from load.platform.run import PlatformRun

_TASKS: Final[LiteralString] = """
    SELECT task_id::text, payload::json ->> 'name', status, tier,
        array(SELECT outcome FROM task_attempts AS a WHERE a.zone_id = t.zone_id AND a.task_id = t.task_id
            ORDER BY number)
    FROM tasks AS t WHERE zone_id = %s
"""
_EVENTS: Final[LiteralString] = """
    SELECT sequence_number, type, path, new_path FROM events WHERE zone_id = %s ORDER BY sequence_number
"""
_FILES: Final[LiteralString] = "SELECT path, etag FROM files WHERE zone_id = %s AND kind = 'file'"
_AGENTS: Final[LiteralString] = "SELECT agent_id, state, generation, tokens_used FROM agents WHERE zone_id = %s"
_ZONE: Final[LiteralString] = "SELECT event_seq, files, agents, tasks_queued FROM zones WHERE zone_id = %s"


class TaskRow(NamedTuple):
    """outcomes: of its attempts in their order; None of one that goes on."""

    task_id: str
    name: str
    status: str
    tier: int
    outcomes: Sequence[str | None]


class EventRow(NamedTuple):
    number: int
    type: str
    path: str
    new_path: str | None


class AgentRow(NamedTuple):
    """tokens: the number of its last heartbeat."""

    name: str
    state: str
    generation: int
    tokens: int


class Charged(NamedTuple):
    """What the zone's own row says."""

    events: int
    files: int
    agents: int
    tasks_queued: int


class ZoneRows(NamedTuple):
    """A zone as its tables have it."""

    tasks: Sequence[TaskRow]
    events: Sequence[EventRow]
    files: dict[str, str]
    agents: Sequence[AgentRow]
    charged: Charged


@dataclass
class Observations:
    """rows: by the name of the zone."""

    rows: Part[dict[str, ZoneRows]] = field(default_factory=Part)
    log: Part[LogErrors] = field(default_factory=Part)


class Observer:
    """Made before the run, so that it knows what stood in the log already."""

    def __init__(self, run: PlatformRun, target: Target, client: Client) -> None:
        self._run, self._before = run, Before(target, client)

    def begin(self) -> None:
        """Nothing is counted."""

    def are_idle(self) -> bool:
        """Whether every agent that fell silent was made idle. psycopg.Error."""
        silent = {worker.name for worker in self._run.workers.values() if worker.silent_at is not None}
        with self._before.connect() as connection:
            rows = [row for zone in self._run.lasting() for row in _agents(connection, zone.zone_id)]
        return all(row.state == "IDLE" for row in rows if row.name in silent)

    def collect(self) -> Observations:
        """Read everything."""
        return Observations(
            rows=observed(self._rows, self._run, "database"),
            log=observed(lambda: count_errors(self._before.stream()), self._run, "logs"),
        )

    def _rows(self) -> dict[str, ZoneRows]:
        with self._before.connect() as connection:
            return {zone.name: _rows_of(connection, zone.zone_id) for zone in self._run.lasting()}


def _rows_of(connection: psycopg.Connection, zone_id: str) -> ZoneRows:
    [charged] = connection.execute(_ZONE, [zone_id]).fetchall()
    return ZoneRows(
        [TaskRow(*row) for row in connection.execute(_TASKS, [zone_id])],
        [EventRow(*row) for row in connection.execute(_EVENTS, [zone_id])],
        dict(connection.execute(_FILES, [zone_id]).fetchall()),
        _agents(connection, zone_id),
        Charged(*charged),
    )


def _agents(connection: psycopg.Connection, zone_id: str) -> list[AgentRow]:
    return [AgentRow(*row) for row in connection.execute(_AGENTS, [zone_id])]
