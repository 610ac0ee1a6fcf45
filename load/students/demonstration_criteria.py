"""By what the demonstration is judged, and what it tells in words. It asks the target nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from harness.sandboxes.calls import ALLOCATE, RELEASE, Call
from harness.verdict.thresholds import Check
from load.students import lanes
from load.students.checks import COUNTERS
from load.students.observer import Observations, verified
from load.students.run import StudentRun
from load.students.thresholds import facts, judgements, notes, write_record
from load.verdict.check import Finding, RunCheck, Undecided
from load.verdict.verdict import Criteria, Facts
from load.workloads.students import Demonstration


def waits_s(run: StudentRun) -> Iterator[float]:
    """From a student's first request to the sandbox."""
    by_track = sorted((call for call in run.calls if call.kind in (ALLOCATE, RELEASE)), key=lambda call: call.track_id)
    for _, calls in groupby(by_track, key=lambda call: call.track_id):
        since: Call | None = None
        for call in sorted(calls, key=lambda call: call.ended_at):
            if call.kind == RELEASE:
                since = None
            elif since is None or call.status == 201:
                since = since or call
                if call.status == 201:
                    yield call.ended_at - since.asked_at


def _served(run: StudentRun, _: Observations) -> Finding:
    if not run.given:
        raise Undecided(f"nothing was allocated; {len(run.calls)} calls are on record")
    got = {call.track_id for call in run.given}
    without = [visit.name for track, visit in run.visits.items() if track not in got]
    faults = [f"{', '.join(without)}: without a sandbox"] if without else []
    if missing := run.scenario.devices - len(run.visits):
        raise Undecided(f"{missing} students did not come")
    return Finding(faults, f"{len(got)} of {len(run.visits)} students were given a sandbox")


def _ended(run: StudentRun, _: Observations) -> Finding:
    """Released where the student gave it back, expired where it vanished, live nowhere."""
    _must_end(run)
    released = {(call.track_id, call.sandbox_id) for call in run.calls if call.kind == RELEASE and call.acknowledged}
    faults = []
    for ending in run.endings:
        wanted = "released" if (ending.track_id, ending.sandbox_id) in released else "expired"
        if ending.end_reason != wanted:
            found = ending.end_reason or "live"
            faults.append(f"{_name(run, ending.track_id)}'s {ending.sandbox_id}: {found}, wanted {wanted}")
    if len(run.endings) != len(run.given):
        faults.append(f"{len(run.given)} allocations were answered")
    ways = Counter(ending.end_reason or "live" for ending in run.endings)
    return Finding(faults, ", ".join(f"{n} {way}" for way, n in sorted(ways.items())) or "no allocation")


def _deleted(run: StudentRun, _: Observations) -> Finding:
    """At the provider, too: a sandbox that was used is not among what it lists."""
    _must_end(run)
    used = {ending.sandbox_id: ending.status for ending in run.endings}
    faults = [f"{sandbox} is {status}" for sandbox, status in used.items() if status != "deleted"]
    faults += [f"the provider still lists {sandbox}" for sandbox in sorted(used.keys() & run.listed)]
    return Finding(faults, f"{len(used)} sandboxes were used; the provider has {len(run.listed)} others left")


def _must_end(run: StudentRun) -> None:
    """Undecided where who vanishes keeps the sandbox beyond the end of the run."""
    lasts_s = max((call.expires_at - call.allocated_at for call in run.given), default=0)
    if lasts_s > run.scenario.duration_s:
        shorter = "`nox -s sandboxes` starts a backend with shorter times"
        raise Undecided(f"a sandbox of this backend lasts {lasts_s} s, longer than the run; {shorter}")


def _name(run: StudentRun, track_id: str) -> str:
    visit = run.visits.get(track_id)
    return visit.name if visit else track_id


def story(run: StudentRun) -> list[str]:
    """What happened, in words."""
    if not run.given:
        return []
    asked, waits = run.outcomes.total(), sorted(waits_s(run))
    got, sandboxes = {call.track_id for call in run.given}, {call.sandbox_id for call in run.given}
    left_over = sum(ending.end_reason == "expired" for ending in run.endings)
    failed = sum(call["status"] not in (204, 404) for call in run.deletions)
    gone = sum(bool(call["effect"]) for call in run.deletions)
    came = f"{len(run.visits)} students of {len(run.scenario.labs)} labs asked {asked} times for a sandbox."
    half = f"Half of them waited {waits[len(waits) // 2]:.1f} s or less, the longest {waits[-1]:.1f} s."
    served = f"{len(got)} were given one, some of them another after it, {len(sandboxes)} in all. {half}"
    left = f"{left_over} sandboxes that nobody gave back ended by themselves."
    provider = f"The provider failed {failed} of {len(run.deletions)} calls to delete, and {gone} sandboxes are gone."
    return [f"{came} {served}", f"{left} {provider}"]


def _notes(run: StudentRun) -> list[str]:
    assert isinstance(run.scenario, Demonstration)
    return [*run.scenario.warning, *story(run), *notes(run)]


def _facts(run: StudentRun) -> Facts:
    return facts(run) | {"deletions asked for": len(run.deletions)}


def _files(run: StudentRun, seen: Observations | None, checks: list[Check], directory: Path) -> list[str]:
    return [*write_record(run, seen, checks, directory), *lanes.write(run, directory)]


CHECKS = (
    RunCheck("served", "every student was given a sandbox", _served),
    RunCheck("ended", "what was given back is released, what was left has expired", _ended),
    RunCheck("deleted", "every sandbox that was used is deleted, at the provider too", _deleted),
    COUNTERS,
)
CRITERIA = Criteria(CHECKS, judgements, _facts, _notes, _files, verified)
