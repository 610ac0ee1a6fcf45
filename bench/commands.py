"""Commands: one to a thousand devices until FCM has them all, single ones, and their repetitions.

It lets no device answer: results are judged by the scenarios of `load`.
"""

from __future__ import annotations

import time
from typing import Any, Final

from bench.rig import Rig, client, listed, refused
from harness.devices.seeded_fleet import FleetDevice, seed
from harness.fcm.server import FcmControl
from harness.http.client import Client
from harness.oracles.log_tail import LogTap
from harness.stack.stack import Stack
from harness.verdict.thresholds import Judgement, Limit, Status, percentile
from harness.waiting import eventually

_FANOUT = 1000
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


def fanout(rig: Rig) -> list[Judgement]:
    """One command to a thousand devices, a few times."""
    accepted_ms, sent_s = [], []
    with rig.another_stack() as stack:
        devices = seed(stack.target.database_url or "", _FANOUT)
        fcm = FcmControl(stack.fcm.url)
        caller = client(stack.target.base_url, stack.env)
        with rig.meter(backend=stack.backend.pid, fcm=stack.fcm.pid) as meter:
            for number in range(rig.plan.repeats):
                fcm.reset()
                begun = time.time()
                accepted_ms.append(_command(caller, f"bench-fanout-{number}", devices))
                sent_s.append(_last_message(fcm) - begun)
        rig.facts["commands: fan-out accepted, ms"] = listed(accepted_ms)
        rig.facts["commands: fan-out all sent, s"] = listed(sent_s)
        rig.facts["commands: fan-out CPUs"] = str(meter)
    return [ACCEPTED.judge(accepted_ms), SENT.judge(sent_s)]


def _last_message(fcm: FcmControl) -> float:
    """When FCM took the last of a thousand distinct messages. WaitTimeout when it does not."""
    taken: dict[str, float] = {}
    place = 0

    def all_there() -> bool:
        nonlocal place
        for item in fcm.inbox(after=place):
            place = item["seq"]
            if item["message_id"]:
                taken.setdefault(item["token"], item["at"])
        return len(taken) == _FANOUT

    eventually(all_there, _PATIENCE_S, what="a thousand messages at the fake FCM")
    return max(taken.values())


def _command(caller: Client, request_id: str, devices: list[FleetDevice], *, replay: bool = False) -> float:
    """Send it; the milliseconds until the answer. Refused unless it is the first (or the replayed) 200."""
    ids = [device.device_id for device in devices]
    answer = caller.command({"action": "ping", "request_id": request_id, "device_ids": ids})
    if answer.status != 200 or ("idempotent-replay" in answer.headers) is not replay:
        raise refused("/admin/command", answer.status, answer.body)
    return answer.elapsed_ms


def single(rig: Rig) -> list[Judgement]:
    """Commands to one device, each sent twice: the second is recognised by its request id."""
    first_ms, again_ms = [], []
    with rig.another_stack() as stack:
        devices = seed(stack.target.database_url or "", _SINGLES)
        caller = client(stack.target.base_url, stack.env)
        mark = stack.logs.mark()
        for number, device in enumerate(devices):
            first_ms.append(_command(caller, f"bench-single-{number}", [device]))
        for number, device in enumerate(devices):
            again_ms.append(_command(caller, f"bench-single-{number}", [device], replay=True))
        lines = _operations(stack, mark)
    rig.facts["commands: single command p95 ms, client"] = round(percentile(first_ms, 0.95), 2)
    rig.facts["commands: repeated command p95 ms, client"] = round(percentile(again_ms, 0.95), 2)
    return [
        IDEMPOTENCY.judge([line["latency_ms"] for line in lines if line["operation"] == "idempotency_hit"]),
        WRITE.judge([line["latency_ms"] for line in lines if line["operation"] == "create"]),
    ]


def _operations(stack: Stack, mark: int) -> list[dict[str, Any]]:
    def complete() -> list[dict[str, Any]]:
        lines = LogTap(stack.logs.path).since(mark)
        ours = [line for line in lines if line["event"] == "db_operation" and line.get("entity") == "fcm_dispatches"]
        kinds = [line["operation"] for line in ours]
        return ours if kinds.count("create") == kinds.count("idempotency_hit") == _SINGLES else []

    return eventually(complete, 10.0, what=f"{_SINGLES} log lines of either kind")
