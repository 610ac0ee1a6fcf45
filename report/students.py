"""The lanes of the broker's demonstration, from students.json: when a student waited, had a sandbox, had vanished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from report import spans
from report.spans import Drawn, Kind

STUDENTS: Final = Kind(
    noun="student",
    file="students.json",
    states={"waiting": "waits", "holding": "has a sandbox", "left": "has vanished, its sandbox has not ended"},
    symbols={"extended": "other", "released": "result", "expired": "repeated", "failed": "failed"},
    tick="a request",
)


def draw(document: Mapping[str, Any]) -> Drawn:
    """One lane for each student, below its lab."""
    rows = [student | {"name": student["student"], "group": student["lab"]} for student in document["students"]]
    return spans.draw(STUDENTS, rows)
