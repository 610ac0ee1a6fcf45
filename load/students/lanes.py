"""What happened to each student and to the pool, as artifacts: students.json, pool.json. It judges nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from harness.sandboxes.calls import ALLOCATE, EXTEND, RELEASE, Call
from harness.verdict.artifacts import timestamp, write_json
from load.measurements.lane import Lane
from load.students.run import Ending, StudentRun

STATES: Final = {
    "available": "available",
    "allocated": "allocated",
    "pending_deletion": "pending",
    "deleting": "deleting",
    "deletion_failed": "failed",
    "stale": "stale",
    "deleted": "deleted",
}
POOL_EVERY_S: Final = 0.5


def write(run: StudentRun, directory: Path) -> list[str]:
    """Returns the names of the files."""
    write_json(directory / "students.json", document(run), "students")
    write_json(directory / "pool.json", pool(run), "pool")
    return ["students.json", "pool.json"]


def document(run: StudentRun) -> dict[str, Any]:
    """Lanes by lab, in order of arrival. Times are milliseconds since the start of the run."""
    calls: dict[str, list[Call]] = {track: [] for track in run.visits}
    for call in run.calls:
        calls[call.track_id].append(call)
    endings: dict[str, list[Ending]] = {}
    for ending in run.endings:
        endings.setdefault(ending.track_id, []).append(ending)
    order = sorted(run.visits.items(), key=lambda one: (run.scenario.labs.index(one[1].lab), one[1].arrives_s))
    students = [
        {"student": visit.name, "lab": visit.lab, **_lane(run.started_at, calls[track], endings.get(track, []))}
        for track, visit in order
    ]
    return {"suite": run.scenario.name, "started_at": timestamp(run.started_at), "students": students}


def _lane(started_at: float, calls: Sequence[Call], endings: Sequence[Ending]) -> dict[str, Any]:
    """The spans (waiting, holding, left) and the moments of one student."""
    lane = Lane(started_at)
    for call in sorted(calls, key=lambda call: call.ended_at):
        _step(lane, call)
    last = max((call.ended_at for call in calls), default=started_at)
    expired = [one.ended_at for one in endings if one.end_reason == "expired" and one.ended_at is not None]
    if lane.state == "holding" and expired:
        lane.enter("left", last)
        lane.enter("", max(*expired, last))
        lane.moment("expired", max(*expired, last))
    lane.enter("", last)
    return lane.told


def _step(lane: Lane, call: Call) -> None:
    if not call.acknowledged and call.status != 409:
        lane.moment("failed", call.ended_at, status=call.status)
    elif call.kind == ALLOCATE and lane.state != "holding":
        if not lane.state:
            lane.enter("waiting", call.asked_at)
        if call.status == 409:
            lane.moment("refused", call.ended_at)
        else:
            lane.enter("holding", call.ended_at)
    elif call.kind == RELEASE:
        lane.moment("released", call.ended_at)
        lane.enter("", call.ended_at)
    else:
        lane.moment({EXTEND: "extended", ALLOCATE: "repeated"}.get(call.kind, "looked"), call.ended_at)


def pool(run: StudentRun) -> dict[str, Any]:
    """The document of pool.json: what each look at the pool has found."""
    looks = [(round(at - run.started_at, 2), counts) for at, counts in run.pool if at >= run.started_at]
    return {
        "suite": run.scenario.name,
        "started_at": timestamp(run.started_at),
        "interval_s": POOL_EVERY_S,
        "pool": {name: [[t_s, counts.get(state, 0)] for t_s, counts in looks] for state, name in STATES.items()},
        "answers": {},
    }
