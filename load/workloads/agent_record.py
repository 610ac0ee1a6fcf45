"""What heartbeats of agents must leave in their rows, as far as the answers tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self

from load.workloads.faults import counted

ZONES: Final = 30
"""Of a run; agent n is in zone n % 30."""


class AgentRow(NamedTuple):
    """An agent as it is stored. tokens_used: the number of the last heartbeat that it was heard of by."""

    state: str
    tokens_used: int


@dataclass
class AgentRecord:
    """By agent: the number of its last heartbeat that was acknowledged, and of the last that may have been taken."""

    last: dict[int, int] = field(default_factory=dict)
    unsure: dict[int, int] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)

    def merge(self, other: AgentRecord) -> None:
        for mine, others in ((self.last, other.last), (self.unsure, other.unsure)):
            for agent, number in others.items():
                mine[agent] = max(number, mine.get(agent, 0))
        self.refusals.update(other.refusals)

    def to_dict(self) -> dict[str, Any]:
        """For a message between processes."""
        return {"last": list(self.last.items()), "unsure": list(self.unsure.items()), "refusals": dict(self.refusals)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        last, unsure = (dict(document[name]) for name in ("last", "unsure"))
        return cls(last, unsure, Counter(document["refusals"]))


def agent_faults(record: AgentRecord, found: Mapping[int, AgentRow]) -> list[str]:
    """What is wrong with the rows: each agent stands at its last heartbeat, and is as connected as it was."""
    heard = record.last.keys()
    stale = [one for one in heard if one in found and not _stands_at(record, one, found[one].tokens_used)]
    return [
        *counted("agents that were heard of and are not there", [one for one in heard if one not in found]),
        *counted("agents whose row is not of their last heartbeat", stale),
        *counted("agents that are not connected", [one for one, row in found.items() if row.state != "CONNECTED"]),
    ]


def _stands_at(record: AgentRecord, agent: int, number: int) -> bool:
    last = record.last[agent]
    return number == last or last < number <= record.unsure.get(agent, 0)
