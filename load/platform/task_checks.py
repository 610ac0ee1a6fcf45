"""What must hold of tasks: as the executors were answered, and as the rows have it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

from load.platform.observer import Observations
from load.platform.run import ATTEMPTS, Claim, PlatformRun, Task, Worker
from load.verdict.check import Finding, RunCheck, Undecided

_OUTCOMES = {"complete": "completed", "fail": "failed", "": "expired"}


def _lasting(run: PlatformRun) -> list[Task]:
    tasks = [task for zone in run.lasting() for task in run.tasks_of(zone.name)]
    if not tasks:
        raise Undecided("no task was submitted")
    return tasks


def _ends(run: PlatformRun, seen: Observations) -> Finding:
    """Each task ended as its executor was told, and so says its row; of no task is there a second row."""
    faults, tasks = [], _lasting(run)
    rows = [row for zone in seen.rows.get().values() for row in zone.tasks]
    by_id = {row.task_id: row for row in rows}
    for task in tasks:
        row = by_id.get(task.task_id)
        wanted = "failed" if task.final or task.fails >= ATTEMPTS else "completed"
        if row is None:
            faults.append(f"{task.name}: no row")
        elif not row.status == task.status == wanted:
            faults.append(f"{task.name}: {row.status}, answered {task.status}, wanted {wanted}")
        elif row.tier != task.tier:
            faults.append(f"{task.name}: of tier {row.tier}, submitted as {task.tier}")
    unknown = by_id.keys() - {task.task_id for task in tasks}
    faults += [f"{by_id[one].name}: a row of a task that nobody was told of" for one in sorted(unknown)]
    counts = Counter(task.status for task in tasks)
    return Finding(faults, ", ".join(f"{count} {status}" for status, count in sorted(counts.items())))


def _attempts(run: PlatformRun, seen: Observations) -> Finding:
    """Attempts are claims, with the outcome that was answered; an agent that fell silent leaves an expired one."""
    rows = {row.task_id: row for zone in seen.rows.get().values() for row in zone.tasks}
    faults, count = [], 0
    for task in _lasting(run):
        claims = sorted(task.claims, key=lambda claim: claim.attempt)
        wanted = [_OUTCOMES[claim.end] for claim in claims]
        found = list(rows[task.task_id].outcomes) if task.task_id in rows else []
        count += len(claims)
        if found != wanted:
            faults.append(f"{task.name}: attempts {found}, its executors were told {wanted}")
    return Finding(faults, f"{count} claims of {len(rows)} tasks")


def _once(run: PlatformRun, _: Observations) -> Finding:
    """No attempt is given out twice, and none before the one before it was over."""
    faults, tasks = [], _lasting(run)
    for task in tasks:
        claims = sorted(task.claims, key=lambda claim: claim.answered_at)
        if [claim.attempt for claim in claims] != list(range(1, len(claims) + 1)):
            faults.append(f"{task.name}: attempts {[claim.attempt for claim in claims]} were given out")
        faults += [
            f"{task.name}: {after.agent} was given it while {before.agent} had it"
            for before, after in pairwise(claims)
            if after.answered_at < _over_at(run, before)
        ]
    return Finding(faults, f"{sum(len(task.claims) for task in tasks)} claims")


def _over_at(run: PlatformRun, claim: Claim) -> float:
    """Before this time the attempt was surely going on."""
    if claim.ended_at is None:
        return claim.asked_at + run.scenario.lease_s
    return claim.ended_at[0]


def _tiers(run: PlatformRun, _: Observations) -> Finding:
    """The backlog was submitted in the wrong order; of two claims after each other the first had the better tasks."""
    faults, count = [], 0
    for zone in run.zones.values():
        backlog = [task for task in run.tasks_of(zone.name) if task.order is not None and task.claims]
        count += len(backlog)
        first = {task.name: min(task.claims, key=lambda claim: claim.attempt) for task in backlog}
        for task in backlog:
            for other in backlog:
                is_before = first[other.name].answered_at < first[task.name].asked_at
                if is_before and _rank(task) < _rank(other):
                    faults.append(f"{zone.name}: {other.name} of tier {other.tier} before {task.name} of {task.tier}")
    if not count:
        raise Undecided("no task of a backlog was claimed")
    return Finding(faults, f"{count} tasks that waited")


def _rank(task: Task) -> tuple[int, int]:
    return task.tier, task.order or 0


def _taken_over(run: PlatformRun, seen: Observations) -> Finding:
    """What a silent agent had in hand another one has ended."""
    silent = {worker.name: worker for worker in run.workers.values() if worker.silent_at is not None}
    if not silent:
        raise Undecided("no agent fell silent with a task in hand")
    faults, left = [], [task for task in _lasting(run) if any(_is_left(claim, silent) for claim in task.claims)]
    for task in left:
        last = task.claims[-1]
        if last.agent in silent and not last.end:
            faults.append(f"{task.name}: left by {last.agent}, taken by nobody")
    states = {row.name: row.state for zone in seen.rows.get().values() for row in zone.agents}
    if not faults and (connected := [name for name in silent if states.get(name) != "IDLE"]):
        shorter = "`nox -s platform` starts a backend that waits for 3 s"
        raise Undecided(f"{', '.join(connected)}: silent, and {states.get(connected[0])} still; {shorter}")
    return Finding(faults, f"{len(silent)} agents fell silent and are idle; {len(left)} tasks were left by them")


def _is_left(claim: Claim, silent: Mapping[str, Worker]) -> bool:
    return claim.agent in silent and not claim.end


CHECKS = (
    RunCheck("ends", "every task ended as its executors' answers say", _ends),
    RunCheck("attempts", "attempts are claims, each with the outcome that was answered", _attempts),
    RunCheck("once", "no task was worked by two at once, and no attempt twice", _once),
    RunCheck("tiers", "of what waited, critical tasks were given out first, best-effort ones last", _tiers),
    RunCheck("taken-over", "what a silent agent had in hand was taken over", _taken_over),
)
