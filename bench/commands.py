"""Commands: one to a thousand devices until FCM has them all, single ones, and their repetitions.

It lets no device answer: results are judged by the scenarios of `load`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.cpu import Spent
from bench.pairs import Figure, Turns, whole
from bench.rig import Rig, client, listed, refused
from harness.devices.seeded_fleet import FleetDevice, seed
from harness.fcm.server import FcmControl
from harness.http.client import Client
from harness.stack.stack import Stack
from harness.verdict.thresholds import Judgement, Limit, Status, percentile
from harness.waiting import eventually

_FANOUT = 1000
_GROUP, _GROUPS = 10, 150  # to compare: turns of some hundredths of a second
_SINGLES = 250  # more than the 200 that a p95 wants
_PATIENCE_S = 60.0

ACCEPTED: Final = Limit(
    "1,000-device command accepted", "ms", "<", 100, 1, 1.0, source="client: answer of /admin/command, slowest round"
)
SENT: Final = Limit(
    "1,000-device command, all FCM sends",
    "s",
    "<",
    2,
    1,
    1.0,
    breach=Status.TARGET_MISSED,
    source="fake FCM: last message - request, slowest round",
)
IDEMPOTENCY: Final = Limit(
    "idempotency check p95", "ms", "<", 5, None, 0.95, source="log: db_operation idempotency_hit fcm_dispatches"
)
WRITE: Final = Limit(
    "dispatch write p95", "ms", "<", 20, None, 0.95, source="log: db_operation create fcm_dispatches, one device each"
)
FANOUT_FIGURES: Final = (
    Figure(f"{_GROUP}-device command accepted, median", "ms"),
    Figure(f"{_GROUP}-device command, all FCM sends, median", "s"),
    Figure("CPU per dispatch, backend", "ms"),
)
SINGLE_FIGURES: Final = (
    Figure("idempotency check p50", "ms"),
    Figure("idempotency check p95", "ms"),
    Figure("dispatch write p50", "ms"),
    Figure("dispatch write p95", "ms"),
    Figure("CPU per command, backend", "ms"),
)


@dataclass(frozen=True)
class FanOuts:
    """Commands to many devices: until the answer (ms), until FCM had them all (s), and what a dispatch cost (ms)."""

    accepted_ms: list[float]
    sent_s: list[float]
    cpu_ms: float


def _fanouts(rig: Rig, size: int, times: int, *, settle: bool = False) -> Turns[FanOuts]:
    """settle: end each turn when the service has nothing left to do, so that it is no load on the other side's."""
    accepted_ms, sent_s = list[float](), list[float]()
    with rig.another_stack() as stack:
        devices = seed(stack.target.database_url or "", size)
        fcm = FcmControl(stack.fcm.url)
        caller = client(stack.target.base_url, stack.env)
        cpu = Spent(stack.backend.pid)
        with rig.meter(backend=stack.backend.pid, fcm=stack.fcm.pid) as meter:
            for number in range(times):
                yield
                fcm.reset()
                mark, begun = stack.logs.mark(), time.time()
                with cpu:
                    accepted_ms.append(_command(caller, f"bench-fanout-{number}", devices))
                    sent_s.append(_last_message(fcm, size) - begun)
                    if settle:
                        _recorded(stack, mark, size)
        rig.facts["commands: fan-out CPUs"] = str(meter)
    return FanOuts(accepted_ms, sent_s, cpu.total_s * 1000 / (size * times))


def fanout(rig: Rig) -> list[Judgement]:
    """One command to a thousand devices, a few times."""
    found = whole(_fanouts(rig, _FANOUT, rig.plan.repeats))
    rig.facts["commands: fan-out accepted, ms"] = listed(found.accepted_ms)
    rig.facts["commands: fan-out all sent, s"] = listed(found.sent_s)
    return [ACCEPTED.judge(found.accepted_ms), SENT.judge(found.sent_s)]


def fanout_in_turns(rig: Rig) -> Turns[Sequence[float]]:
    """One value per figure."""
    found = yield from _fanouts(rig, _GROUP, _GROUPS, settle=True)
    return [statistics.median(found.accepted_ms), statistics.median(found.sent_s), found.cpu_ms]


def _recorded(stack: Stack, mark: int, count: int) -> None:
    """Wait until the service has written down that so many dispatches were sent. WaitTimeout when it does not."""

    def all_there() -> bool:
        return [line["event"] for line in stack.logs.since(mark)].count("dispatch.sent") == count

    eventually(all_there, _PATIENCE_S, what=f"{count} lines of sent dispatches")


def _last_message(fcm: FcmControl, count: int) -> float:
    """When FCM took the last of so many distinct messages. WaitTimeout when it does not."""
    taken: dict[str, float] = {}
    place = 0

    def all_there() -> bool:
        nonlocal place
        for item in fcm.inbox(after=place):
            place = item["seq"]
            if item["message_id"]:
                taken.setdefault(item["token"], item["at"])
        return len(taken) == count

    eventually(all_there, _PATIENCE_S, what=f"{count} messages at the fake FCM")
    return max(taken.values())


def _command(caller: Client, request_id: str, devices: list[FleetDevice], *, replay: bool = False) -> float:
    """Send it; the milliseconds until the answer. Refused unless it is the first (or the replayed) 200."""
    ids = [device.device_id for device in devices]
    answer = caller.command({"action": "ping", "request_id": request_id, "device_ids": ids})
    if answer.status != 200 or ("idempotent-replay" in answer.headers) is not replay:
        raise refused("/admin/command", answer.status, answer.body)
    return answer.elapsed_ms


@dataclass(frozen=True)
class Singles:
    """Commands to one device, each sent twice: what the service says of its statements (ms), and what a call cost."""

    repeated_ms: list[float]
    written_ms: list[float]
    cpu_ms: float


def _singles(rig: Rig, *, settle: bool = False) -> Turns[Singles]:
    """settle: as above."""
    first_ms, again_ms = [], []
    with rig.another_stack() as stack:
        devices = seed(stack.target.database_url or "", _SINGLES)
        caller = client(stack.target.base_url, stack.env)
        mark, cpu = stack.logs.mark(), Spent(stack.backend.pid)
        for number, device in enumerate(devices):
            yield
            sent = stack.logs.mark()
            with cpu:
                first_ms.append(_command(caller, f"bench-single-{number}", [device]))
                if settle:
                    _recorded(stack, sent, 1)
        for number, device in enumerate(devices):
            yield
            with cpu:
                again_ms.append(_command(caller, f"bench-single-{number}", [device], replay=True))
        lines = _operations(stack, mark)
    rig.facts["commands: single command p95 ms, client"] = round(percentile(first_ms, 0.95), 2)
    rig.facts["commands: repeated command p95 ms, client"] = round(percentile(again_ms, 0.95), 2)
    repeated_ms, written_ms = (
        [line["latency_ms"] for line in lines if line["operation"] == kind] for kind in ("idempotency_hit", "create")
    )
    return Singles(repeated_ms, written_ms, cpu.total_s * 1000 / (2 * _SINGLES))


def single(rig: Rig) -> list[Judgement]:
    """Commands to one device, each sent twice: the second is recognised by its request id."""
    found = whole(_singles(rig))
    return [IDEMPOTENCY.judge(found.repeated_ms), WRITE.judge(found.written_ms)]


def single_in_turns(rig: Rig) -> Turns[Sequence[float]]:
    """One value per figure."""
    found = yield from _singles(rig, settle=True)
    latencies = (percentile(values, share) for values in (found.repeated_ms, found.written_ms) for share in (0.5, 0.95))
    return [*latencies, found.cpu_ms]


def _operations(stack: Stack, mark: int) -> list[dict[str, Any]]:
    def complete() -> list[dict[str, Any]]:
        lines = stack.logs.since(mark)
        ours = [line for line in lines if line["event"] == "db_operation" and line.get("entity") == "fcm_dispatches"]
        kinds = [line["operation"] for line in ours]
        return ours if kinds.count("create") == kinds.count("idempotency_hit") == _SINGLES else []

    return eventually(complete, 10.0, what=f"{_SINGLES} log lines of either kind")
