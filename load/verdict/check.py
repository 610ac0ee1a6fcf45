"""A check: a yes-or-no question to what a run left behind, and what it is worth when that cannot be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from harness.verdict.thresholds import Check, Status
from load.measurements.observations import Absent, LogErrors, Part
from load.measurements.run import Run

RunT = TypeVar("RunT", bound=Run)
Seen = TypeVar("Seen")


class Undecided(Exception):
    """What was observed allows both answers."""


@dataclass(frozen=True)
class Finding:
    """What a check found: the faults, and a word on what was seen, also where there is none."""

    faults: list[str]
    seen: str


def compared(faults: list[str], told: str, *, sure: int, unsure: int) -> Finding:
    """What a comparison with the answers has found. Undecided: it matches, but more than a tenth is unsure."""
    if not faults and sure <= 10 * unsure:
        raise Undecided(told)
    return Finding(faults, told)


@dataclass(frozen=True)
class RunCheck(Generic[RunT, Seen]):
    """ask: raises Absent where it cannot look, Undecided where what it sees allows both answers."""

    id: str
    title: str
    ask: Callable[[RunT, Seen], Finding]


def run_checks(run: RunT, observations: Seen, checks: Iterable[RunCheck[RunT, Seen]]) -> list[Check]:
    """Ask everything."""
    return [_answer(check, run, observations) for check in checks]


def _answer(check: RunCheck[RunT, Seen], run: RunT, observations: Seen) -> Check:
    try:
        found = check.ask(run, observations)
    except Absent as absent:
        return Check(check.id, check.title, absent.status, str(absent))
    except Undecided as undecided:
        return Check(check.id, check.title, Status.INCONCLUSIVE, str(undecided))
    except (LookupError, TypeError, ValueError) as error:
        # What was observed has not the documented shape: that is a fault of who made it.
        return Check(check.id, check.title, Status.FAIL, f"malformed: {type(error).__name__}: {error}")
    if not found.faults:
        return Check(check.id, check.title, Status.PASS, found.seen)
    more = f" and {len(found.faults) - 3} more" if len(found.faults) > 3 else ""
    return Check(check.id, check.title, Status.FAIL, f"{found.seen}; {'; '.join(found.faults[:3])}{more}")


def log_errors(log_of: Callable[[Seen], Part[LogErrors]]) -> RunCheck[RunT, Seen]:
    """The check that no ERROR line is in the log. log_of: what was read of it."""

    def ask(_: RunT, seen: Seen) -> Finding:
        log = log_of(seen).get()
        if not log.lines:
            raise Absent(Status.INCONCLUSIVE, "the log has no line of this run")
        return Finding(log.errors, f"{log.lines} log lines, {len(log.errors)} of them errors")

    return RunCheck("log-errors", "no ERROR line in the log", ask)


def judged_elsewhere(part: Part[Sequence[Check]], check_id: str, title: str) -> Sequence[Check]:
    """Checks of a judge of its own, or one that says why there are none."""
    if part.value is not None:
        return part.value
    return [Check(check_id, title, Status.INCONCLUSIVE, str(part.absent or "was not looked at"))]
