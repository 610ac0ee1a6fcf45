"""What a simulation must have left behind: yes-or-no questions to its samples and observations."""

from __future__ import annotations

from collections import Counter

from harness.verdict.thresholds import Status
from load.measurements.observations import Absent, needs
from load.simulation.log_checks import LOG_CHECKS
from load.simulation.observer import Observations
from load.simulation.run import DUPLICATE, SimulationRun
from load.verdict.check import Finding, RunCheck, Undecided
from load.verdict.counters import exactly, grown
from load.workloads.heartbeat_rows import bucket_of, pair


def _listed(run: SimulationRun, seen: Observations) -> Finding:
    views = {view["device_id"]: view for view in seen.devices.get()}
    faults = []
    for device in run.devices:
        view = views.get(device.device_id)
        if view is None:
            faults.append(f"{device.alias} is not listed")
        elif (view["alias"], view["status"]) != (device.alias, "active"):
            faults.append(f"{device.alias} is listed as {view['alias']}, {view['status']}")
        elif any(h.ok for h in run.heartbeats if h.device == device.alias) and view["last_status"] != "ok":
            faults.append(f"{device.alias}: last_status is {view['last_status']} after heartbeats")
    return Finding(faults, f"{len(views)} of {len(run.devices)} devices listed")


def _dispatched(run: SimulationRun, seen: Observations) -> Finding:
    views = seen.dispatches.get()
    count = Counter(view["request_id"] for view in views)
    faults = [f"{request_id} is listed {n} times" for request_id, n in count.items() if n > 1]
    wanted = {device.command_id for device in run.commanded}
    faults += [f"nobody asked for dispatch {request_id}" for request_id in count if request_id not in wanted]
    found = {view["request_id"]: view for view in views}
    for device in run.devices:
        mine = found.get(device.command_id)
        if mine is None or mine["device_id"] != device.device_id:
            faults.append(f"{device.alias} has no dispatch")
        elif (mine["status"], mine["outcome"]) != ("completed", "ok"):
            faults.append(f"{device.alias}: dispatch is {mine['status']}, outcome {mine['outcome']}")
    return Finding(faults, f"{len(views)} dispatches for {len(run.devices)} commands to a device")


def _messages(run: SimulationRun, seen: Observations) -> Finding:
    inbox = seen.inbox.get()
    came = Counter((attempt["token"], attempt["data"].get("request_id")) for attempt in inbox)
    wanted = {
        (device.client.fcm_token if device.client else None, device.command_id): device.alias for device in run.devices
    }
    faults = [f"{alias} got {came[pair]} messages of {pair[1]}" for pair, alias in wanted.items() if came[pair] != 1]
    faults += [f"nobody asked for a message of {request_id}" for _, request_id in came.keys() - wanted.keys()]
    return Finding(faults, f"{len(inbox)} messages for {len(wanted)} commands to a device")


def _results(run: SimulationRun, _: Observations) -> Finding:
    faults = []
    for device in run.devices:
        wanted = [False, True] if device.repeats_result else [False]
        if [result["replayed"] for result in device.results] != wanted:
            faults.append(
                f"{device.alias}: results {[result['replayed'] for result in device.results]}, wanted {wanted}"
            )
        elif len({result["completed_at"] for result in device.results}) != 1:
            faults.append(f"{device.alias}: the repeat moved completed_at")
    repeats = sum(device.repeats_result for device in run.devices)
    return Finding(faults, f"{run.completed} first results, {repeats} intended repeats")


def _clock_known(run: SimulationRun) -> None:
    if not run.buckets_known:
        raise Absent(Status.DISABLED, "the server's clock is not known well enough: needs DATABASE_URL")


def _deduplicated(run: SimulationRun, _: Observations) -> Finding:
    _clock_known(run)
    intended = sum(heartbeat.duplicate for heartbeat in run.planned)
    if not intended and run.scenario.duplicate_share:
        raise Undecided("the plan held no duplicate")
    if unsure := len(run.rows().spans):
        raise Undecided(f"{unsure} heartbeats had no answer, or were on their way at the edge of a bucket")
    bucket_s, sent = run.scenario.bucket_s, run.heartbeats
    moved = sum(bucket_of(h.sent, bucket_s) != bucket_of(h.intended, bucket_s) for h in sent)
    if moved:
        raise Undecided(f"{moved} heartbeats were sent too late for the bucket that they were meant for")
    wrong = [h for h in sent if h.ok and h.deduplicated is not (h.kind == DUPLICATE)]
    faults = [f"{h.device}: a {h.kind} was answered deduplicated={h.deduplicated}" for h in wrong]
    found = sum(bool(h.deduplicated) for h in sent)
    if found != intended:
        faults.append(f"{intended} duplicates were intended")
    return Finding(faults, f"{found} deduplicated of {intended} intended")


def _rows(run: SimulationRun, seen: Observations) -> Finding:
    _clock_known(run)
    numbers = {device.device_id: number for number, device in enumerate(run.devices)}
    rows = run.rows()
    faults, told = rows.compare(pair(numbers[device_id], bucket) for device_id, bucket in seen.rows.get())
    if rows.spans and not faults:
        raise Undecided(told)
    return Finding(faults, told)


def _counters(run: SimulationRun, seen: Observations) -> Finding:
    """Exact, hence only for a deployment that nobody else uses during the run."""
    needs(run, "process")
    devices, good = run.devices, [sample for sample in run.heartbeats if sample.ok]
    deduplicated = sum(bool(sample.deduplicated) for sample in good)
    replayed = sum(max(0, len(device.results) - 1) for device in devices)
    return grown(
        seen.metrics.get(),
        exactly("heartbeats", deduplicated, result="deduplicated"),
        exactly("heartbeats", len(good) - deduplicated, result="ingested"),
        exactly("registrations", sum(device.registered for device in devices)),
        exactly("enroll_tokens_issued", sum(bool(device.enrolment_token) for device in devices)),
        exactly("apk_downloads", sum(device.apk_fetched for device in devices), source="enrollment"),
        exactly("dispatches", len(run.commanded), status="sent"),
        exactly("dispatches", run.completed, status="completed"),
        exactly("action_results", run.completed, replayed="false"),
        exactly("action_results", replayed, replayed="true"),
    )


def _downloaded(run: SimulationRun, seen: Observations) -> Finding:
    rows = seen.downloads.get()
    fetched = sum(device.apk_fetched for device in run.devices)
    faults = [f"source is {source}" for _, source in rows if source != "enrollment"]
    if len(rows) != fetched:
        faults.append(f"{fetched} were fetched")
    if len({token for token, _ in rows if token}) != len(rows):
        faults.append("not one token per row")
    return Finding(faults, f"{len(rows)} apk_download_events for {fetched} downloads")


def _fetched(run: SimulationRun, _: Observations) -> Finding:
    faults = [
        f"{device.alias} did not get the APK as it was uploaded" for device in run.devices if not device.apk_fetched
    ]
    return Finding(faults, f"{len(run.devices) - len(faults)} of {len(run.devices)} devices")


def _answers(run: SimulationRun, _: Observations) -> Finding:
    samples = run.samples.all
    bad = Counter(f"{s.kind} {s.status}" for s in samples if s.status >= 500)
    return Finding([f"{n} times {what}" for what, n in bad.items()], f"{len(samples)} answers to devices and admin")


def _table_secrets(run: SimulationRun, seen: Observations) -> Finding:
    return Finding(seen.leaks.get(), f"{len(run.secrets)} tokens and keys searched for")


CHECKS = (
    RunCheck("devices-listed", "every device is listed, active, seen", _listed),
    RunCheck("dispatches", "one completed dispatch per device, no request_id twice", _dispatched),
    RunCheck("fcm-messages", "exactly one FCM message per device", _messages),
    RunCheck("results", "each result is taken once, a repeat is replayed", _results),
    RunCheck("dedupe-answers", "exactly the intended duplicates are deduplicated", _deduplicated),
    RunCheck("heartbeat-rows", "one row per (device, bucket) that was sent", _rows),
    RunCheck("counters", "metrics grew by exactly what was done", _counters),
    *LOG_CHECKS,
    RunCheck("apk", "every device got the APK, byte for byte", _fetched),
    RunCheck("downloads", "one apk_download_events row per download, source enrollment", _downloaded),
    RunCheck("answers-5xx", "no 5xx answer", _answers),
    RunCheck("table-secrets", "no token and no key in a table", _table_secrets),
)
# Of a fleet that was seeded: it enrolled nowhere, fetched nothing, and its one heartbeat each is not the subject.
FANOUT_CHECKS = tuple(
    check
    for check in CHECKS
    if check.id not in {"devices-listed", "dedupe-answers", "heartbeat-rows", "apk", "downloads"}
)
