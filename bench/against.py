"""Before and after: rows on a baseline, the backend of another revision, and on the candidate, today's, in turns.

Each side has its own PostgreSQL, migrated and granted by its own command, and runs today's rows with today's settings.
What the baseline cannot serve is not comparable, and says why. A comparison is no verdict unless a limit is asked for.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.pairs import Pair, Paired
from bench.rig import LASTING, TROUBLE, Disturbed, Facts, Plan, Refused, Rig, listed, reason
from bench.rows import Row
from harness.verdict.cpu_contention import LEAST_SHARE, Strangers
from harness.verdict.thresholds import Check, Judgement, Status

NOTES = (
    "The candidate is the working tree. Both sides, their PostgreSQL and the generator share this machine.",
    "A ratio is candidate / baseline of one pair, whose sides take turns: a crowd or a call each, else the whole row.",
    "Not comparable: the baseline cannot serve the row. It is no pass, and no figure of it is a zero.",
)


@dataclass(frozen=True)
class Order:
    """What is compared. commit: of the baseline; within_percent: the limit that is asked for."""

    commit: str
    command: Path
    pairs: int
    within_percent: float | None = None


@dataclass
class Outcome:
    """What became of the rows."""

    judgements: list[Judgement] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    facts: Facts = field(default_factory=dict)


class Incomparable(Exception):
    """A side cannot serve a row. status: DISABLED for the baseline, else what that says of the candidate."""

    def __init__(self, status: Status, why: str) -> None:
        super().__init__(why)
        self.status = status


def run(plan: Plan, rows: Sequence[Row], order: Order) -> Outcome:
    """Measure all rows. HarnessError when the candidate does not start."""
    outcome = Outcome(facts={"baseline": order.commit, "pairs": order.pairs})
    with Rig(plan, str(order.command), "baseline") as baseline, Rig(plan, name="candidate") as candidate:
        candidate.say(f"a stack at {candidate.stack.target.base_url}")
        refusal = _start(baseline)
        for row in rows:
            if why := row.alone or refusal:
                _incomparable(outcome, candidate, row, Incomparable(Status.DISABLED, why))
                continue
            try:
                compared = compare(baseline, candidate, row, order.pairs)
            except Incomparable as error:
                _incomparable(outcome, candidate, row, error)
                continue
            for paired in compared:
                _measured(outcome, candidate, row, paired, order.within_percent)
    return outcome


def _start(baseline: Rig) -> str:
    """Why the baseline's stack does not start; empty: it does."""
    try:
        baseline.say(f"a stack at {baseline.stack.target.base_url}")
    except TROUBLE as error:
        return f"the baseline's stack does not start: {reason(error)}"
    return ""


def compare(baseline: Rig, candidate: Rig, row: Row, pairs: int) -> list[Paired]:
    """The figures of a row, pair by pair. Incomparable when a side cannot serve it."""
    figures = row.comparison.figures
    measured: list[list[Pair]] = [[] for _ in figures]
    for number in range(1, pairs + 1):
        candidate.say(f"{row.name} {number}/{pairs} ...")
        befores, afters, void = _pair(baseline, candidate, row, number)
        said = []
        for figure, seen, before, after in zip(figures, measured, befores, afters, strict=True):
            seen.append(Pair(before, after, void))
            if not math.isnan(seen[-1].ratio):
                said.append(f"{figure.name}: {figure.change(before, after)}, x {seen[-1].ratio:.3f}")
        said += [f"void: {void}"] if void else []
        candidate.say(f"{row.name} {number}/{pairs}: {'; '.join(said)}")
    return [Paired(figure, seen) for figure, seen in zip(figures, measured, strict=True)]


def _pair(baseline: Rig, candidate: Rig, row: Row, number: int) -> tuple[Sequence[float], Sequence[float], str]:
    """A value per figure of either side, NaN where there is none, and why they do not count.

    Incomparable when a side breaks; unless other programs hold the CPUs and could be the cause.
    """
    watched = Strangers(candidate.pid)
    values: dict[Rig, Sequence[float]] = dict.fromkeys((baseline, candidate), [math.nan] * len(row.comparison.figures))
    broken: tuple[Rig, Exception] | None = None
    sides = {rig: row.comparison.turns(rig) for rig in values}
    order = [baseline, candidate] if number % 2 else [candidate, baseline]
    with contextlib.ExitStack() as ends:
        for turns in sides.values():
            ends.callback(turns.close)
        while order and broken is None:
            for rig in list(order):
                try:
                    next(sides[rig])
                except StopIteration as end:
                    values[rig] = end.value
                    order.remove(rig)
                except TROUBLE as trouble:
                    broken = rig, trouble
                    break
            order.reverse()
    share = watched.share()
    busy = share is not None and share >= LEAST_SHARE
    doubts = [f"other programs took {share:.0%} of the CPUs"] if busy else []
    if broken is not None:
        rig, error = broken
        doubts.append(f"{rig.name}: {reason(error)}")
        if isinstance(error, LASTING) or not (busy or isinstance(error, Disturbed)):
            wrong = Status.FAIL if isinstance(error, Refused) else Status.INCONCLUSIVE
            raise Incomparable(Status.DISABLED if rig is baseline else wrong, doubts[-1]) from error
    return values[baseline], values[candidate], "; ".join(doubts)


def _incomparable(outcome: Outcome, rig: Rig, row: Row, error: Incomparable) -> None:
    check = Check(row.name, f"{row.name}: candidate / baseline", error.status, f"not comparable: {error}")
    outcome.checks.append(check)
    rig.say(f"{check.status.value:13} {row.name}: {check.detail}")


def _measured(outcome: Outcome, rig: Rig, row: Row, paired: Paired, within_percent: float | None) -> None:
    name = f"{row.name}: {paired.figure.name}"
    place = re.sub(r"[^a-z0-9]+", "-", paired.figure.name.lower()).strip("-")[:40]
    status = Status.INCONCLUSIVE if paired.void else Status.PASS
    check = Check(f"{row.name}/{place}", f"{paired.figure.name}: candidate / baseline", status, paired.told())
    outcome.checks.append(check)
    rig.say(f"{'void' if paired.void else 'measured':13} {name}: {check.detail}")
    outcome.facts[f"{name}, baseline"] = listed([pair.baseline for pair in paired.pairs])
    outcome.facts[f"{name}, candidate"] = listed([pair.candidate for pair in paired.pairs])
    ratios = (f"({pair.ratio:.3f} void)" if pair.void else f"{pair.ratio:.3f}" for pair in paired.pairs)
    outcome.facts[f"{name}, ratios"] = " ".join(ratios)
    if within_percent is not None:
        judged = paired.judge(row.name, within_percent)
        outcome.judgements.append(judged)
        note = f" ({judged.note})" if judged.note else ""
        rig.say(f"{judged.status.value:13} within {within_percent:g} %: {name}{note}")
