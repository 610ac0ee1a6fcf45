"""How a check is asked, and what it is worth when evidence is absent or malformed. It knows no check."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.verdict.thresholds import Check, Status
from load.measurements.observations import Evidence
from load.measurements.run import Run


class Undecided(Exception):
    """The evidence is there, and allows both answers."""


@dataclass(frozen=True)
class Found:
    faults: list[str]
    seen: str


@dataclass(frozen=True)
class Question:
    """`needs`: the parts of the evidence without which it cannot be asked; also "exclusive" and "clock" (see Run)."""

    id: str
    title: str
    needs: tuple[str, ...]
    ask: Callable[[Run, Evidence], Found]


_NO_CLOCK = (Status.DISABLED, "the server's clock is not known well enough: needs DATABASE_URL")
_NOT_EXCLUSIVE = (Status.DISABLED, "others may use the deployment: needs NEXMDM_BACKEND_PID, a stack of the run's own")


def examine(run: Run, evidence: Evidence, questions: Iterable[Question]) -> list[Check]:
    """Ask everything."""
    return [_answer(question, run, evidence) for question in questions]


def _answer(question: Question, run: Run, evidence: Evidence) -> Check:
    for need in question.needs:
        absent: tuple[Status, str] | None = evidence.absent.get(need)
        if need == "exclusive":
            absent = None if run.exclusive else _NOT_EXCLUSIVE
        elif need == "clock":
            absent = None if run.buckets_known else _NO_CLOCK
        elif absent is None and getattr(evidence, need) is None:
            absent = (Status.INCONCLUSIVE, "was not looked at")
        if absent is not None:
            return Check(question.id, question.title, *absent)
    try:
        found = question.ask(run, evidence)
    except Undecided as undecided:
        return Check(question.id, question.title, Status.INCONCLUSIVE, str(undecided))
    except (LookupError, TypeError, ValueError) as error:
        # The evidence has not the documented shape: that is a fault of who made it.
        return Check(question.id, question.title, Status.FAIL, f"malformed: {type(error).__name__}: {error}")
    if not found.faults:
        return Check(question.id, question.title, Status.PASS, found.seen)
    more = f" and {len(found.faults) - 3} more" if len(found.faults) > 3 else ""
    return Check(question.id, question.title, Status.FAIL, f"{found.seen}; {'; '.join(found.faults[:3])}{more}")
