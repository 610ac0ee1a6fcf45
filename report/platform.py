"""The lanes of the platform's demonstration, from platform.json: what each agent did, and what became of each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from report import spans
from report.spans import Drawn, Kind

AGENTS: Final = Kind(
    noun="agent",
    file="platform.json",
    states={"enrolling": "enrols", "working": "works at a task", "silent": "is silent"},
    symbols={"connected": "registered", "completed": "result", "failed": "failed"},
    tick="a heartbeat, or a file that was stored",
)
TASKS: Final = Kind(
    noun="task",
    file="platform.json",
    states={"queued": "is queued", "running": "is worked at", "left": "is left by an agent that fell silent"},
    symbols={"completed": "result", "retried": "repeated", "failed": "failed"},
)


def draw(document: Mapping[str, Any]) -> list[Drawn]:
    """One lane for each agent, then one for each task, below their zones."""
    return [spans.draw(AGENTS, document["agents"]), spans.draw(TASKS, document["tasks"])]
