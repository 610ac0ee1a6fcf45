"""The tear-down checks: yes-or-no questions to what the run left behind. They measure no time: limits do.

Each takes the run and the evidence and returns the faults it found, with a word on what it saw. A check whose evidence
is absent is disabled or inconclusive, as the evidence says; it never passes.
"""

from __future__ import annotations

from collections import Counter

from load.measurements.observations import Evidence
from load.measurements.run import Run
from load.measurements.samples import DUPLICATE
from load.verdict.check import Found, Question, Undecided
from load.verdict.log_checks import LOG_QUESTIONS
from load.workloads.schedule import bucket_of


def _listed(run: Run, evidence: Evidence) -> Found:
    views = {view["device_id"]: view for view in evidence.devices or []}
    faults = []
    for seat in run.seats:
        view = views.get(seat.device_id)
        if view is None:
            faults.append(f"{seat.alias} is not listed")
        elif (view["alias"], view["status"]) != (seat.alias, "active"):
            faults.append(f"{seat.alias} is listed as {view['alias']}, {view['status']}")
        elif any(b.ok for b in run.recorder.beats if b.device == seat.alias) and view["last_status"] != "ok":
            faults.append(f"{seat.alias}: last_status is {view['last_status']} after heartbeats")
    return Found(faults, f"{len(views)} of {len(run.seats)} devices listed")


def _dispatched(run: Run, evidence: Evidence) -> Found:
    views = evidence.dispatches or []
    count = Counter(view["request_id"] for view in views)
    faults = [f"{request_id} is listed {n} times" for request_id, n in count.items() if n > 1]
    wanted = {seat.command_id for seat in run.commanded}
    faults += [f"nobody asked for dispatch {request_id}" for request_id in count if request_id not in wanted]
    found = {view["request_id"]: view for view in views}
    for seat in run.seats:
        mine = found.get(seat.command_id)
        if mine is None or mine["device_id"] != seat.device_id:
            faults.append(f"{seat.alias} has no dispatch")
        elif (mine["status"], mine["outcome"]) != ("completed", "ok"):
            faults.append(f"{seat.alias}: dispatch is {mine['status']}, outcome {mine['outcome']}")
    return Found(faults, f"{len(views)} dispatches for {len(run.seats)} commands to a device")


def _messages(run: Run, evidence: Evidence) -> Found:
    inbox = evidence.inbox or []
    came = Counter((attempt["token"], attempt["data"].get("request_id")) for attempt in inbox)
    wanted = {(seat.device.fcm_token if seat.device else None, seat.command_id): seat.alias for seat in run.seats}
    faults = [f"{alias} got {came[pair]} messages of {pair[1]}" for pair, alias in wanted.items() if came[pair] != 1]
    faults += [f"nobody asked for a message of {request_id}" for _, request_id in came.keys() - wanted.keys()]
    return Found(faults, f"{len(inbox)} messages for {len(wanted)} commands to a device")


def _results(run: Run, _: Evidence) -> Found:
    faults = []
    for seat in run.seats:
        wanted = [False, True] if seat.repeats_result else [False]
        if [result["replayed"] for result in seat.results] != wanted:
            faults.append(f"{seat.alias}: results {[result['replayed'] for result in seat.results]}, wanted {wanted}")
        elif len({result["completed_at"] for result in seat.results}) != 1:
            faults.append(f"{seat.alias}: the repeat moved completed_at")
    repeats = sum(seat.repeats_result for seat in run.seats)
    return Found(faults, f"{run.completed} first results, {repeats} intended repeats")


def _deduplicated(run: Run, _: Evidence) -> Found:
    intended = sum(beat.duplicate for beat in run.planned)
    if not intended and run.profile.duplicate_share:
        raise Undecided("the plan held no duplicate")
    doubtful = run.recorder.account(run.profile.bucket_s, run.clock_uncertainty_s).doubtful
    if doubtful:
        raise Undecided(f"{doubtful} heartbeats had no answer, or were under way at the edge of a bucket")
    bucket_s = run.profile.bucket_s
    moved = sum(bucket_of(b.sent, bucket_s) != bucket_of(b.intended, bucket_s) for b in run.recorder.beats)
    if moved:
        raise Undecided(f"{moved} heartbeats were sent too late for the bucket that they were meant for")
    wrong = [b for b in run.recorder.beats if b.ok and b.deduplicated is not (b.kind == DUPLICATE)]
    faults = [f"{b.device}: a {b.kind} was answered deduplicated={b.deduplicated}" for b in wrong]
    found = sum(bool(b.deduplicated) for b in run.recorder.beats)
    if found != intended:
        faults.append(f"{intended} duplicates were intended")
    return Found(faults, f"{found} deduplicated of {intended} intended")


def _rows(run: Run, evidence: Evidence) -> Found:
    rows = Counter(evidence.rows or [])
    ids = {seat.alias: seat.device_id for seat in run.seats}
    account = run.recorder.account(run.profile.bucket_s, run.clock_uncertainty_s)
    sure = {(ids[alias], number) for alias, number in account.rows}
    unsure = {(ids[alias], number) for alias, number in account.unsure}
    faults = [f"{n} rows for {device} in bucket {number}" for (device, number), n in rows.items() if n > 1]
    faults += [f"no row for {device} in bucket {number}" for device, number in sure - rows.keys()]
    faults += [f"unexpected row for {device} in bucket {number}" for device, number in rows.keys() - sure - unsure]
    if unsure and not faults:
        raise Undecided(f"{len(unsure)} rows may or may not have to be there")
    return Found(faults, f"{rows.total()} rows for {len(sure)} (device, bucket) pairs sent")


def _counters(run: Run, evidence: Evidence) -> Found:
    """Exact, hence only for a deployment that nobody else uses meanwhile."""
    assert evidence.metrics is not None
    seats, beats = run.seats, run.recorder.beats
    wanted: list[tuple[str, dict[str, str], int]] = [
        ("heartbeats", {"result": "deduplicated"}, sum(beat.ok and bool(beat.deduplicated) for beat in beats)),
        ("heartbeats", {"result": "ingested"}, sum(beat.ok and not beat.deduplicated for beat in beats)),
        ("registrations", {}, sum(seat.registered for seat in seats)),
        ("enroll_tokens_issued", {}, sum(bool(seat.enrolment_token) for seat in seats)),
        ("apk_downloads", {"source": "enrollment"}, sum(seat.apk_fetched for seat in seats)),
        ("dispatches", {"status": "sent"}, len(run.commanded)),
        ("dispatches", {"status": "completed"}, run.completed),
        ("action_results", {"replayed": "false"}, run.completed),
        ("action_results", {"replayed": "true"}, sum(max(0, len(seat.results) - 1) for seat in seats)),
    ]
    faults = []
    for name, labels, count in wanted:
        grown = evidence.metrics.delta(f"nexmdm_{name}_total", **labels)
        if grown != count:
            faults.append(f"{name}{labels or ''} grew by {grown:g}, not {count}")
    duplicates = sum(beat.duplicate for beat in run.planned)
    grown = evidence.metrics.delta("nexmdm_heartbeats_total", result="deduplicated")
    return Found(faults, f"{grown:g} heartbeats deduplicated of {duplicates} intended; {len(wanted)} counters compared")


def _downloaded(run: Run, evidence: Evidence) -> Found:
    rows = evidence.downloads or []
    fetched = sum(seat.apk_fetched for seat in run.seats)
    faults = [f"source is {source}" for _, source in rows if source != "enrollment"]
    if len(rows) != fetched:
        faults.append(f"{fetched} were fetched")
    if len({token for token, _ in rows if token}) != len(rows):
        faults.append("not one token per row")
    return Found(faults, f"{len(rows)} apk_download_events for {fetched} downloads")


def _fetched(run: Run, _: Evidence) -> Found:
    faults = [f"{seat.alias} did not get the APK as it was uploaded" for seat in run.seats if not seat.apk_fetched]
    return Found(faults, f"{len(run.seats) - len(faults)} of {len(run.seats)} devices")


def _answers(run: Run, _: Evidence) -> Found:
    samples = run.recorder.samples
    bad = Counter(f"{s.kind} {s.status}" for s in samples if s.status >= 500)
    return Found([f"{n} times {what}" for what, n in bad.items()], f"{len(samples)} answers to devices and admin")


def _table_secrets(run: Run, evidence: Evidence) -> Found:
    return Found(evidence.leaks or [], f"{len(run.secrets)} tokens and keys searched for")


QUESTIONS = (
    Question("devices-listed", "every device is listed, active, seen", ("devices",), _listed),
    Question("dispatches", "one completed dispatch per device, no request_id twice", ("dispatches",), _dispatched),
    Question("fcm-messages", "exactly one FCM message per device", ("inbox",), _messages),
    Question("results", "each result is taken once, a repeat is replayed", (), _results),
    Question("dedupe-answers", "exactly the intended duplicates are deduplicated", ("clock",), _deduplicated),
    Question("heartbeat-rows", "one row per (device, bucket) that was sent", ("rows", "clock"), _rows),
    Question("counters", "metrics grew by exactly what was done", ("metrics", "exclusive"), _counters),
    *LOG_QUESTIONS,
    Question("apk", "every device got the APK, byte for byte", (), _fetched),
    Question("downloads", "one apk_download_events row per download, source enrollment", ("downloads",), _downloaded),
    Question("answers-5xx", "no 5xx answer", (), _answers),
    Question("table-secrets", "no token and no key in a table", ("leaks",), _table_secrets),
)
# Of a fleet that was seeded: it enrolled nowhere, fetched nothing, and its one heartbeat each is not the subject.
FANOUT_QUESTIONS = tuple(
    question
    for question in QUESTIONS
    if question.id not in {"devices-listed", "dedupe-answers", "heartbeat-rows", "apk", "downloads"}
)
