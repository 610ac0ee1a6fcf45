"""By what the demonstration of the platform is judged, and what it tells in words. It asks the target nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from harness.verdict.thresholds import Check, Judgement, Limit
from load.platform import lanes, task_checks
from load.platform.observer import Observations, ZoneRows
from load.platform.run import PlatformRun, ZoneStory
from load.verdict.check import Finding, RunCheck, Undecided, log_errors
from load.verdict.guards import LEAST_SAMPLES
from load.verdict.verdict import Criteria, Facts
from load.workloads import catalogue

_OF_FILES = ("write", "delete", "rename", "mkdir", "rmdir")


def _found(run: PlatformRun, seen: Observations) -> list[tuple[ZoneStory, ZoneRows]]:
    """Each zone that is not deleted, and its rows. Raises where these could not be read."""
    rows = seen.rows.get()
    return [(zone, rows[zone.name]) for zone in run.lasting()]


def _agents(run: PlatformRun, seen: Observations) -> Finding:
    """Each stands at its last heartbeat, in the session that its warmup began."""
    faults, rows = [], {row.name: row for zone in seen.rows.get().values() for row in zone.agents}
    lasting = {zone.name for zone in run.lasting()}
    workers = [worker for worker in run.workers.values() if worker.zone in lasting]
    for worker in workers:
        row = rows.pop(worker.name, None)
        if worker.ready_at is None or row is None:
            faults.append(f"{worker.name}: did not enrol")
        elif (row.generation, row.tokens) != (worker.generation, worker.heartbeats):
            faults.append(f"{worker.name}: {row.tokens} heartbeats of session {row.generation}, not what it was told")
        elif worker.silent_at is None and row.state != "CONNECTED":
            faults.append(f"{worker.name}: {row.state}, and was heard of")
    faults += [f"{name}: an agent that nobody registered" for name in rows]
    return Finding(faults, f"{len(workers)} agents, {sum(worker.heartbeats for worker in workers)} heartbeats")


def _events(run: PlatformRun, seen: Observations) -> Finding:
    """What was acknowledged is what the log has, and nothing else; in the order in which it was answered."""
    faults, count = [], 0
    for zone, rows in _found(run, seen):
        count += len(rows.events)
        if [event.number for event in rows.events] != list(range(1, rows.charged.events + 1)):
            faults.append(f"{zone.name}: {len(rows.events)} events are not numbered 1 to {rows.charged.events}")
        faults += _differences(run, zone, rows) or _disorder(zone, rows)
    return Finding(faults, f"{count} events")


def _differences(run: PlatformRun, zone: ZoneStory, rows: ZoneRows) -> list[str]:
    told = Counter((call.type, call.path, call.new_path) for call in zone.changes)
    found = Counter((event.type, event.path, event.new_path) for event in rows.events if event.type in _OF_FILES)
    faults = [f"{zone.name}: {kind} {path} was acknowledged and is no event" for kind, path, _ in told - found]
    faults += [f"{zone.name}: an event of {kind} {path} that nobody was told of" for kind, path, _ in found - told]
    tasks, types = run.tasks_of(zone.name), Counter(event.type for event in rows.events)
    claims = [claim for task in tasks for claim in task.claims]
    wanted = {
        "task.submitted": len(tasks),
        "task.claimed": len(claims),
        "task.completed": sum(task.status == "completed" for task in tasks),
        "task.failed": sum(task.status == "failed" for task in tasks),
        "task.retried": sum(not claim.end or claim.status == "queued" for claim in claims),
    }
    return faults + [
        f"{zone.name}: {types[kind]} events {kind}, wanted {n}" for kind, n in wanted.items() if types[kind] != n
    ]


def _disorder(zone: ZoneStory, rows: ZoneRows) -> list[str]:
    """Changes of which one was answered before the next was asked for have numbers in that order."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for event in rows.events:
        numbers.setdefault((event.type, event.path), []).append(event.number)
    calls = [(call, numbers[call.type, call.path].pop(0)) for call in zone.changes]
    return [
        f"{zone.name}: {later.type} {later.path} has a number before that of {sooner.path}"
        for sooner, low in calls
        for later, high in calls
        if sooner.answered_at < later.asked_at and low > high
    ]


def _tail(run: PlatformRun, seen: Observations) -> Finding:
    """A reader that follows gets what the log has: each once, in order, without a gap, of its zone alone."""
    faults, count = [], 0
    for zone in run.zones.values():
        numbers, count = [event["sequence_number"] for event in zone.events], count + len(zone.events)
        if numbers != list(range(1, len(numbers) + 1)):
            faults.append(f"{zone.name}: the reader got {len(numbers)} events, not numbered 1 to {len(numbers)}")
        strangers = [event["zone_id"] for event in zone.events if event["zone_id"] != zone.zone_id]
        faults += [f"{zone.name}: the reader got an event of {strangers[0]}"] if strangers else []
        if zone.ends_at is None and not faults:
            rows = [(row.number, row.type, row.path) for row in seen.rows.get()[zone.name].events]
            got = [(event["sequence_number"], event["type"], event["path"]) for event in zone.events]
            faults += [] if rows == got else [f"{zone.name}: the reader got {len(got)} events, the log has {len(rows)}"]
    if not count:
        raise Undecided("no event was read")
    return Finding(faults, f"{count} events were followed")


def _files(run: PlatformRun, seen: Observations) -> Finding:
    faults, count = [], 0
    for zone, rows in _found(run, seen):
        count += len(rows.files)
        faults += [f"{zone.name}: {path} is not there" for path in sorted(zone.files.keys() - rows.files.keys())]
        faults += [
            f"{zone.name}: {path}, which nobody stored" for path in sorted(rows.files.keys() - zone.files.keys())
        ]
        both = zone.files.keys() & rows.files.keys()
        faults += [
            f"{zone.name}: {path} is another content" for path in both if zone.files[path] not in ("", rows.files[path])
        ]
        queued = sum(task.status == "queued" for task in rows.tasks)
        if (rows.charged.agents, rows.charged.tasks_queued) != (len(rows.agents), queued):
            faults.append(
                f"{zone.name}: is charged for {rows.charged}, and has {len(rows.agents)} agents, {queued} queued"
            )
    return Finding(faults, f"{count} files")


def _upload(run: PlatformRun, _: Observations) -> Finding:
    sent = run.upload
    if not sent.sent or sent.resumed_at is None:
        raise Undecided("nothing was uploaded")
    told = f"{sent.size:,} bytes, cut at {sent.cut_at:,}, resumed at {sent.resumed_at:,}"
    faults = [] if sent.read == sent.sent else ["what is read is not what was sent"]
    first = sent.size // 3 + 1
    if not first <= sent.resumed_at <= (sent.cut_at or 0):
        faults.append(f"of {first:,} acknowledged and {sent.cut_at:,} sent bytes {sent.resumed_at:,} were kept")
    return Finding(faults, told)


def _isolation(run: PlatformRun, _: Observations) -> Finding:
    if not run.looks:
        raise Undecided("no zone looked at another")
    return Finding(run.trespasses, f"{run.looks} looks of {len(run.zones)} zones at each other")


def _mounted(run: PlatformRun, _: Observations) -> Finding:
    told = run.mounting
    if not told.sent:
        raise Undecided("nothing was mounted; needs NEXMDM_OBJECTS_DIR: directories of this machine")
    faults = [
        f"{name} is not in the directory as it was written"
        for name in told.sent
        if told.found.get(name) != told.sent[name]
    ]
    faults += [] if told.foreign_read == told.foreign else ["a file of the directory is not read as it is"]
    faults += [f"{path} is listed, and nothing is mounted there" for path in told.left]
    return Finding(faults, f"{len(told.sent)} files were in the directory within {told.took_s:.1f} s")


def _conflict(run: PlatformRun, _: Observations) -> Finding:
    told = run.mounting
    if not told.foreign_read:
        raise Undecided("no file was changed on both sides")
    if told.while_open is None:
        return Finding(["both sides have changed a file, and no conflict tells of it"], "")
    faults = [] if told.while_open == (told.ours, told.theirs) else ["a side was touched before it was resolved"]
    faults += (
        [] if told.kept and set(told.kept) == {told.ours, told.theirs} else [f"of both contents is read: {told.kept}"]
    )
    faults += [f"{told.open_after} conflicts are open still"] if told.open_after else []
    return Finding(faults, "both sides of a conflict were kept")


def _deleted(run: PlatformRun, _: Observations) -> Finding:
    gone = run.deletion
    if not gone.before or not gone.running:
        raise Undecided("no zone with running leases was deleted")
    told = f"{sum(gone.before.values())} rows of {len(gone.before)} tables, {gone.running} leases running"
    told += f", gone in {gone.took_s:.1f} s"
    if gone.after is None:
        return Finding(["it is there still"], told)
    faults = [f"{count} rows of {table} are left" for table, count in gone.after.items()]
    faults += [f"{gone.objects_after} objects are left"] if gone.objects_after else []
    faults += [] if gone.key_status == 401 else [f"its key is answered {gone.key_status}"]
    if not faults and not gone.objects_before:
        raise Undecided(f"{told}; its objects could not be seen: needs NEXMDM_OBJECTS_DIR")
    return Finding(faults, f"{told}, and {gone.objects_before} names in the object store")


def judgements(run: PlatformRun, _: Observations | None) -> list[Judgement]:
    """No answer that was not wanted."""
    limit = Limit("errors", "requests", "==", 0, LEAST_SAMPLES, source="client: no answer, or another than is right")
    return [limit.judge_value(run.wrong.total(), run.requests)]


def story(run: PlatformRun) -> list[str]:
    """What happened, in words."""
    if not run.workers or not run.tasks:
        return []
    counts = Counter(task.status for task in run.tasks.values())
    claims = [claim for task in run.tasks.values() for claim in task.claims]
    silent = [worker.name for worker in run.workers.values() if worker.silent_at is not None]
    changes = sum(len(zone.changes) for zone in run.zones.values())
    work = f"{len(run.workers)} agents of {len(run.zones)} zones were given {len(claims)} attempts at {len(run.tasks)}"
    work += f" tasks: {counts['completed']} were completed and {counts['failed']} failed for good."
    left = f"{', '.join(silent)} fell silent with tasks in hand, which others took over." if silent else ""
    beside = f"Files were changed {changes} times, and readers followed"
    beside += f" {sum(len(zone.events) for zone in run.zones.values())} events."
    told = [f"{work} {left}".rstrip(), beside]
    ended = [zone.name for zone in run.zones.values() if zone.ends_at is not None]
    return told + [f"Zone {name} was deleted with leases running: {run.deletion.running}." for name in ended]


def _notes(run: PlatformRun) -> list[str]:
    wrong = [f"{count} times {what}" for what, count in run.wrong.most_common(5)]
    return [*run.scenario.warning, *story(run), *catalogue.notes(run.scenario), *wrong]


def _facts(run: PlatformRun) -> Facts:
    return {
        "zones": len(run.zones),
        "tasks": len(run.tasks),
        "claims": sum(len(task.claims) for task in run.tasks.values()),
        "changes of files": sum(len(zone.changes) for zone in run.zones.values()),
        "requests": run.requests,
    }


def _record(run: PlatformRun, _: Observations | None, __: list[Check], directory: Path) -> list[str]:
    return lanes.write(run, directory)


CHECKS: tuple[RunCheck[PlatformRun, Observations], ...] = (
    RunCheck("agents", "every agent enrolled and stands at its last heartbeat", _agents),
    *task_checks.CHECKS,
    RunCheck("events", "what was acknowledged is what the log has, without a gap, in order", _events),
    RunCheck("tail", "a reader that follows the log gets each event once, in order", _tail),
    RunCheck("files", "the files are those that were stored, moved and not removed", _files),
    RunCheck("upload", "an upload that was cut went on, and is read as it was sent", _upload),
    RunCheck("mounted", "what is written through a mount lies in its directory, and the other way round", _mounted),
    RunCheck("conflict", "of a file that both sides change nothing is lost", _conflict),
    RunCheck("isolation", "no zone sees anything of another", _isolation),
    RunCheck("deleted", "of the deleted zone nothing is left: no row, no object, no key", _deleted),
    log_errors(lambda seen: seen.log),
)
CRITERIA = Criteria(CHECKS, judgements, _facts, _notes, _record)
