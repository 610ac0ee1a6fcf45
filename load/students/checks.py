"""What students must have left behind: yes-or-no questions to the record of their calls and to observations."""

from __future__ import annotations

from collections import Counter

from harness.sandboxes.calls import ALLOCATE
from load.measurements.observations import needs
from load.students.observer import Observations
from load.students.run import StudentRun
from load.verdict.check import Finding, RunCheck, Undecided, log_errors
from load.verdict.counters import exactly, grown
from load.workloads.students import MultiLab


def _given(run: StudentRun, _: Observations) -> Finding:
    """As many as there are, or as there are tracks. Each track asks for a sandbox at least once."""
    sandboxes = {call.sandbox_id for call in run.given}
    tracks = {call.track_id for call in run.calls if call.kind == ALLOCATE}
    wanted = min(len(tracks), run.scenario.sandboxes)
    told = f"{len(run.given)} allocations of {len(sandboxes)} sandboxes to {len(tracks)} tracks"
    if not run.given:
        raise Undecided(f"nothing was allocated; {len(run.calls)} calls are on record")
    faults = [] if len(run.given) == len(sandboxes) == wanted else [f"{wanted} were there to be given, each once"]
    if not faults and len(tracks) < run.scenario.sandboxes and run.scenario.exhausts:
        raise Undecided(f"{told}; fewer tracks than the {run.scenario.sandboxes} sandboxes: the pool was never empty")
    return Finding(faults, told)


def _answers(run: StudentRun, _: Observations) -> Finding:
    """Of several labs: how often each answer must have come, to the request."""
    scenario = run.scenario
    assert isinstance(scenario, MultiLab)
    repeats = scenario.students * len(scenario.labs) * (scenario.asks - 1)
    wanted = {201: scenario.tracks, 200: repeats, 409: scenario.late}
    told = ", ".join(f"{run.outcomes[status]} x {status}" for status in sorted({*wanted, *run.outcomes}))
    return Finding([] if run.outcomes == Counter(wanted) else [f"wanted: {wanted}"], told)


def _labs(run: StudentRun, seen: Observations) -> Finding:
    scenario, labs = run.scenario, seen.labs.get()
    assert isinstance(scenario, MultiLab)
    wanted = Counter(dict.fromkeys(scenario.labs, scenario.students))
    wanted.update(scenario.labs[number % len(scenario.labs)] for number in range(scenario.devices))
    told = ", ".join(f"{lab}: {labs.get(lab, 0)}" for lab in scenario.labs)
    return Finding([] if labs == wanted else [f"wanted: {dict(wanted)}, found: {labs}"], told)


def _counters(run: StudentRun, seen: Observations) -> Finding:
    """Exact, hence only for a deployment that nobody else uses, and where every answer came."""
    needs(run, "process")
    if unsure := sum(call.unsure for call in run.calls):
        raise Undecided(f"{unsure} calls had no answer, or 5xx")
    outcomes = {"new": 201, "replay": 200, "exhausted": 409}
    wanted = (exactly("sandboxes_allocations", run.outcomes[n], outcome=name) for name, n in outcomes.items())
    return grown(seen.metrics.get(), *wanted)


COUNTERS = RunCheck("counters", "metrics grew by exactly what is on record", _counters)
CHECKS: tuple[RunCheck[StudentRun, Observations], ...] = (
    RunCheck("given", "as many sandboxes were given as there were, each once", _given),
    COUNTERS,
    log_errors(lambda seen: seen.log),
)
LABS_CHECKS = (
    RunCheck("answers", "exactly the new, the repeated and the late are answered as such", _answers),
    RunCheck("labs", "each lab has exactly its students", _labs),
)
