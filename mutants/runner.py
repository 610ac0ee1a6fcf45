"""Judges mutants: asks the suites about each, several at a time, and says what killed it.

The named checks are asked about an equal copy that nothing was done to, too: the control. A check that is red there
proves nothing when it is red for a mutant, so no mutant is run before its check has been green. It writes no report:
artifacts.py does.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from harness.waiting import eventually
from mutants import suites
from mutants.mutant import CatalogueError, Mutant
from mutants.runs import Ask, Runs, Started

KILLED: Final = "killed"
ANOTHER: Final = "killed by another"
SURVIVED: Final = "survived"
VOID: Final = "void"
_WORST_LAST: Final = (KILLED, ANOTHER, SURVIVED, VOID)
# A backend that does not start, or a fixture that breaks, says nothing about the case that met it.
_NO_PROOF: Final = re.compile(r"^during (setup|teardown)|\b(Backend|Postgres|Fcm|Stack|CommandNotFound|Zygote)Error\b")
_LAST_LONG: Final = 0.8  # where among all runs the last long one begins


@dataclass(frozen=True)
class Finding:
    """What became of one mutant. `by`: the failed checks; `said`: what the named one, or the trouble, said."""

    mutant: Mutant
    verdict: str
    by: tuple[str, ...]
    said: str
    took_s: float


class Runner:
    """One runner over a list of mutants."""

    def __init__(
        self,
        runs: Runs,
        jobs: int,
        *,
        whole: bool = False,
        repeat: int = 1,
        progress: Callable[[str], object] = lambda _: None,
    ) -> None:
        """whole: ask all of its suite about a mutant that its named check has let through.

        repeat: how many times each is asked about, as is the control; a finding is the worst of them.
        progress: is told how far the control is, of which there are no findings.
        """
        self.runs, self._jobs, self._whole, self._repeat, self._progress = runs, jobs, whole, repeat, progress
        self._no_proof: dict[tuple[str, str], str] = {}  # by suite and check: why it proves nothing
        self._green: Counter[tuple[str, str]] = Counter()  # how many times the control was
        self._asked = 0  # of how many

    def run(self, mutants: Sequence[Mutant]) -> Iterator[Finding]:
        """A finding per mutant, in the order in which they end: first of the suites that bear many runs at a time."""
        found: defaultdict[str, list[Finding]] = defaultdict(list)
        bearing: defaultdict[int, list[Mutant]] = defaultdict(list)
        for mutant in mutants:
            bearing[min(self._jobs, suites.MOST.get(mutant.suite, self._jobs))].append(mutant)
        for jobs, mine in sorted(bearing.items(), reverse=True):
            for finding in self._pool(mine, jobs):
                rounds = found[finding.mutant.id]
                rounds.append(finding)
                if len(rounds) == self._repeat:
                    yield _worst(rounds)

    def _pool(self, mutants: Sequence[Mutant], jobs: int) -> Iterator[Finding]:
        waiting = [replace(ask, round=number) for number in range(self._repeat) for ask in _in_order(mutants)]
        self._asked += sum(len(ask.checks) for ask in waiting if ask.mutant is None)
        running: list[Started] = []
        try:
            while waiting or running:
                ready = next((ask for ask in waiting if self._may_start(ask)), None) if len(running) < jobs else None
                if ready is not None:
                    waiting.remove(ready)
                    finding = self._start(ready, running)
                    if finding is not None:
                        yield finding
                    continue
                eventually(lambda: any(run.over() for run in running), math.inf, what="the end of a run")
                for run in [run for run in running if run.over()]:
                    running.remove(run)
                    finding, more = self._end(run)
                    waiting = [*waiting, *more] if run.ask.mutant else [*more, *waiting]
                    if run.ask.mutant is None:
                        self._progress(f"{self._green.total()} of {self._asked} checks are green on the sound backend")
                    if finding is not None:
                        yield finding
        finally:
            for run in running:
                self.runs.stop(run)
            self.runs.close()

    def _may_start(self, ask: Ask) -> bool:
        if ask.mutant is None:
            return True
        check = ask.suite, ask.mutant.caught_by
        return check in self._no_proof or self._green[check] == self._repeat

    def _start(self, ask: Ask, running: list[Started]) -> Finding | None:
        """A finding for a mutant that is not to be run."""
        if ask.mutant and (why := self._no_proof.get((ask.suite, ask.mutant.caught_by))):
            return Finding(ask.mutant, VOID, (), f"control: {ask.mutant.caught_by} {why}", 0.0)
        try:
            running.append(self.runs.start(ask))
        except CatalogueError as error:
            assert ask.mutant
            return Finding(ask.mutant, VOID, (), str(error), 0.0)
        return None

    def _end(self, run: Started) -> tuple[Finding | None, list[Ask]]:
        """What it says of its mutant, and what has to be asked still."""
        ask, took_s = run.ask, time.monotonic() - run.begun
        found = self.runs.end(run)
        if ask.mutant is None:
            red = [check for check in ask.checks if found.void or check not in found.passed]
            if red and len(ask.checks) > 1 and ask.suite == "acceptance":
                # As of mutants: each is asked alone, so that none answers for its neighbour.
                again = [replace(ask, checks=(check,)) for check in red]
            else:
                again = []
                self._no_proof |= {(ask.suite, check): found.void or "is not green" for check in red}
            self._green.update((ask.suite, check) for check in ask.checks if check not in red)
            return None, again
        mutant = ask.mutant
        if found.void:
            return Finding(mutant, VOID, (), found.void, took_s), []
        by, said = tuple(sorted(found.failed)), found.failed.get(mutant.caught_by, "")
        if mutant.caught_by in found.failed:
            return Finding(mutant, VOID if _NO_PROOF.search(said) else KILLED, by, said, took_s), []
        if mutant.caught_by not in found.passed:
            return Finding(mutant, VOID, by, f"{mutant.caught_by} did not run", took_s), []
        if self._whole and ask.checks:
            return None, [replace(ask, checks=())]
        return Finding(mutant, ANOTHER if by else SURVIVED, by, "; ".join(found.failed.values())[:300], took_s), []


def _worst(rounds: Sequence[Finding]) -> Finding:
    """One finding of a mutant that was asked about several times."""
    if len(rounds) == 1:
        return rounds[0]
    worst = max(rounds, key=lambda finding: _WORST_LAST.index(finding.verdict))
    many = sum(finding.verdict == worst.verdict for finding in rounds)
    said = f"{worst.verdict} in {many} of {len(rounds)}: {worst.said}"
    return replace(worst, said=said, took_s=sum(finding.took_s for finding in rounds))


def _in_order(mutants: Sequence[Mutant]) -> list[Ask]:
    """The control first, then the mutants."""
    long, short = [], []
    for suite in suites.NAMES:
        named = sorted({mutant.caught_by for mutant in mutants if mutant.suite == suite})
        if suite == "acceptance":
            slow, others = suites.groups(named)
            long += [Ask(suite, tuple(group)) for group in slow]
            short += [Ask(suite, tuple(group)) for group in others]
        elif suite == "chaos":
            long += [Ask(suite, (name,)) for name in named]
        elif named:
            long.insert(0, Ask(suite, tuple(named)))
    waits = {(ask.suite, check) for ask in long for check in ask.checks}
    runs: dict[bool, list[Ask]] = {True: [], False: []}
    for mutant in mutants:
        runs[(mutant.suite, mutant.caught_by) in waits].append(Ask(mutant.suite, (mutant.caught_by,), mutant))
    return [*_mixed(long, short), *_mixed(runs[True], runs[False])]


def _mixed(long: Sequence[Ask], short: Sequence[Ask]) -> list[Ask]:
    """The long ones mostly wait: they are spread among the short ones, and none begins at the end."""
    places = [(_LAST_LONG * at / len(long), ask) for at, ask in enumerate(long)]
    places += [(at / len(short), ask) for at, ask in enumerate(short)]
    return [ask for _, ask in sorted(places, key=lambda place: place[0])]
