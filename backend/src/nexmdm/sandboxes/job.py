"""What the jobs of the broker have in common: what a run reports, and batches of short transactions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import TextClause

from nexmdm.kernel.database import Database

BATCH: Final = 200  # rows: nobody waits long for a lock of ours

Over = Callable[[], bool]  # whether a run is to take nothing more


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a run. `retry_after_s`: when the provider may be asked again, where that is known."""

    counts: Mapping[str, int] = field(default_factory=dict)
    outcome: str = "completed"
    retry_after_s: float | None = None


async def commit(db: Database, statement: TextClause, **parameters: Any) -> Sequence[Any]:
    """Run one statement in a transaction of its own; give its rows."""
    return await db.run(statement, parameters)


async def count(db: Database, statement: TextClause, **parameters: Any) -> int:
    """The one number of a statement that reads."""
    return int((await commit(db, statement, **parameters))[0][0])
