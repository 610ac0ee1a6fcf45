"""The zones whose tasks are submitted, claimed and completed: what their tables say, compared with the record."""

from __future__ import annotations

from typing import Final

from load.arrival_rate.run import ArrivalRateRun
from load.arrival_rate.tasks import TaskRequests
from load.arrival_rate.workload import LOG_ERRORS, Checks, Observations, Workload
from load.arrival_rate.zones import SeededZones, in_words
from load.measurements.observations import needs
from load.verdict.check import Finding, RunCheck, Undecided, compared
from load.verdict.counters import Growth, grown
from load.verdict.verdict import Facts
from load.workloads.task_record import (
    CLAIMED_AT_ONCE,
    QueueFound,
    TaskRecord,
    TaskRow,
    claim_faults,
    completion_faults,
    event_faults,
    task_faults,
    usage_faults,
)

_TASKS: Final = """
    SELECT idempotency_key, task_id::text, status,
        ARRAY(SELECT outcome FROM task_attempts AS a
            WHERE a.zone_id = t.zone_id AND a.task_id = t.task_id ORDER BY number)
    FROM tasks AS t WHERE zone_id = %s
"""
_EVENTS: Final = "SELECT type, count(*) FROM events WHERE zone_id = %s GROUP BY type"
_NUMBERS: Final = "SELECT sequence_number FROM events WHERE zone_id = %s ORDER BY sequence_number"
_ZONE: Final = "SELECT event_seq, tasks_queued FROM zones WHERE zone_id = %s"


def _tasks(run: ArrivalRateRun, seen: Observations) -> Finding:
    record, found = run.ledger(TaskRecord), seen.rows.get()
    rows = sum(len(zone.tasks) for zone in found)
    told = f"{rows} tasks for {len(record.submitted)} acknowledged submits, {len(record.unsure)} are unsure"
    return compared(task_faults(record, found), told, sure=len(record.submitted), unsure=len(record.unsure))


def _claims(run: ArrivalRateRun, seen: Observations) -> Finding:
    record = run.ledger(TaskRecord)
    faults = claim_faults(record, seen.rows.get())
    if not faults and not record.claimed:
        raise Undecided("nothing was claimed")
    return Finding(faults, f"{len(record.claimed)} tasks given out; claims without an answer: {record.lost_claims}")


def _completions(run: ArrivalRateRun, seen: Observations) -> Finding:
    record = run.ledger(TaskRecord)
    faults = completion_faults(record, seen.rows.get())
    if not faults and not record.completed:
        raise Undecided("nothing was completed")
    return Finding(faults, f"{len(record.completed)} tasks completed, {len(record.unsure_completed)} are unsure")


def _events(_: ArrivalRateRun, seen: Observations) -> Finding:
    found = seen.rows.get()
    return Finding(event_faults(found), f"{sum(len(zone.numbers) for zone in found)} events in {len(found)} zones")


def _usage(_: ArrivalRateRun, seen: Observations) -> Finding:
    found = seen.rows.get()
    return Finding(usage_faults(found), f"{sum(zone.charged for zone in found)} queued tasks are charged for")


def _counters(run: ArrivalRateRun, seen: Observations) -> Finding:
    needs(run, "process")
    record, metrics = run.ledger(TaskRecord), seen.metrics.get()
    if not record.submitted:
        return Finding(["nothing was submitted"], "nothing to compare")
    submitted, claimed, completed = len(record.submitted), record.claimed.total(), len(record.completed)
    return grown(
        metrics,
        Growth("platform_tasks", {"event": "task.submitted"}, submitted, submitted + len(record.unsure)),
        Growth("platform_tasks", {"event": "task.claimed"}, claimed, claimed + CLAIMED_AT_ONCE * record.lost_claims),
        Growth("platform_tasks", {"event": "task.completed"}, completed, completed + len(record.unsure_completed)),
    )


CHECKS: Checks = (
    RunCheck("tasks", "each acknowledged submit is a task, and nothing else is", _tasks),
    RunCheck("claims", "each task was given out once, as an attempt of its own", _claims),
    RunCheck("completions", "each acknowledged completion ended its task, and nothing else did", _completions),
    RunCheck("events", "each submit, claim and completion has its event, numbered without a gap", _events),
    RunCheck("usage", "each zone is charged for the tasks that are queued", _usage),
    RunCheck("counters", "the counters of tasks grew by what was answered", _counters),
    LOG_ERRORS,
)


class SeededQueues(SeededZones):
    """Zones with nothing but tasks."""

    tables = "zones, events, tasks, task_attempts"
    checks = CHECKS

    def look(self, number: int) -> QueueFound:
        name = self.name(number)
        with self.snapshot() as connection:
            tasks = [TaskRow(*row) for row in connection.execute(_TASKS, [name])]
            events = dict(connection.execute(_EVENTS, [name]).fetchall())
            numbers = [one for (one,) in connection.execute(_NUMBERS, [name])]
            [(last_event, charged)] = connection.execute(_ZONE, [name])
        return QueueFound(tasks, events, numbers, last_event, charged)

    def facts(self, run: ArrivalRateRun) -> Facts:
        record = run.ledger(TaskRecord)
        done = f"{len(record.submitted)} / {len(record.claimed)} / {len(record.completed)}"
        return {"tasks submitted / claimed / completed": done, "calls that were refused": in_words(record.refusals)}


TASKS: Final = Workload(TaskRequests, TaskRecord, TaskRecord.from_dict, SeededQueues)
