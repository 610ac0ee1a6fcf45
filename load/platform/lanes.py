"""What happened to each agent and to each task, as an artifact: platform.json. It judges nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.verdict.artifacts import timestamp, write_json
from load.measurements.lane import Lane
from load.platform.run import Claim, PlatformRun, Task, Worker


def write(run: PlatformRun, directory: Path) -> list[str]:
    """Returns the names of the files."""
    write_json(directory / "platform.json", document(run), "platform")
    return ["platform.json"]


def document(run: PlatformRun) -> dict[str, Any]:
    """Lanes by zone, agents by name and tasks in order of submission. Times are milliseconds since the start."""
    last = max((worker.last_at for worker in run.workers.values()), default=run.started_at)
    places = {name: number for number, name in enumerate(run.zones)}
    workers = sorted(run.workers.values(), key=lambda one: (places[one.zone], one.name))
    tasks = sorted(run.tasks.values(), key=lambda one: (places[one.zone], one.submitted_at))
    return {
        "suite": run.scenario.name,
        "started_at": timestamp(run.started_at),
        "agents": [{"name": one.name, "group": one.zone, **_of_worker(run, one, last)} for one in workers],
        "tasks": [{"name": one.name, "group": one.zone, **_of_task(run, one, last)} for one in tasks],
    }


def _end(run: PlatformRun, zone: str, last: float) -> float:
    return run.zones[zone].ends_at or last


def _of_worker(run: PlatformRun, worker: Worker, last: float) -> dict[str, Any]:
    lane, end = Lane(run.started_at), _end(run, worker.zone, last)
    lane.enter("enrolling", worker.enrolled_at)
    claims = [claim for task in run.tasks_of(worker.zone) for claim in task.claims if claim.agent == worker.name]
    if worker.ready_at is not None:
        lane.enter("", worker.ready_at)
    for claim in sorted((claim for claim in claims if claim.end), key=_ended):
        lane.enter("working", max(claim.answered_at, lane.since or 0.0))
        lane.enter("", _ended(claim))
    if worker.silent_at is not None:
        lane.enter("silent", worker.silent_at)
    lane.enter("", end if worker.silent_at is not None or worker.ready_at is None else last)
    for event, at in worker.moments:
        lane.moment(event, at)
    return lane.told


def _ended(claim: Claim) -> float:
    return claim.ended_at[1] if claim.ended_at is not None else claim.answered_at


def _of_task(run: PlatformRun, task: Task, last: float) -> dict[str, Any]:
    lane, end = Lane(run.started_at), _end(run, task.zone, last)
    lane.enter("queued", task.submitted_at)
    for claim in sorted(task.claims, key=lambda claim: claim.attempt):
        lane.enter("running" if claim.end else "left", claim.answered_at)
        if claim.ended_at is not None:
            is_queued = claim.status == "queued"
            lane.enter("queued" if is_queued else "", claim.ended_at[1])
            lane.moment("retried" if is_queued else claim.status or "left", claim.ended_at[1])
    lane.enter("", end)
    return lane.told
