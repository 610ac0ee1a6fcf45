"""Past the knee: how much is still answered, how late, what it costs, and how soon all is well afterwards.

The flood has a CPU for itself, the servers have the others. It counts a shed (503 or 429 with Retry-After)
as neither good nor bad: the limits say how much must be answered meanwhile.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Self
from urllib.parse import urlsplit

from bench.cpu import kept_off, memory_mib
from bench.flood import Order, Outcome, Stage, flood
from bench.rig import HEARTBEAT, Rig, Void
from bench.wrk import Wrk
from harness.processes.child import workspace
from harness.stack.backend import Backend
from harness.verdict.thresholds import Judgement, Limit

_OPEN = "open loop on raw sockets; the servers share the other CPUs"
GOODPUT: Final = Limit("answered at 4 x the knee / at the knee", "", ">=", 0.7, source=_OPEN)
PATIENCE: Final = Limit("heartbeat p99 at 4 x the knee, of those answered", "ms", "<", 1000, source="answered - sent")
SOON: Final = Limit("refusal p99 at 4 x the knee", "ms", "<", 1000, source="refused - sent")
HEALTH: Final = Limit("/healthz at 4 x the knee, slowest", "ms", "<", 200, None, 1.0, source="one probe each 100 ms")
MEMORY: Final = Limit("memory that 4 x the knee adds", "MiB", "<", 100, source="psutil: RSS of the backend's processes")
RECOVERY: Final = Limit("recovery once the load falls to half the knee", "s", "<", 5, source="last shed or slow beat")
MUTE: Final = Limit("answers that no caller can act on", "", "==", 0, source="not 200, and no shed with Retry-After")

LIMITS: Final = (GOODPUT, PATIENCE, SOON, HEALTH, MEMORY, RECOVERY, MUTE)

_TIMES: Final = (1, 2, 4)
_STEPS: Final = 1.25
_FIRST_PER_S: Final = 1000.0
_HELD_P99_MS: Final = 100.0
_HELD_SHARE: Final = 0.99
_DEVICES: Final = 30_000
_STAGE_S: Final = 10.0
_PATIENCE_S: Final = 10.0


def spare_cpu() -> int | None:
    """The CPU for the flood; None where there is only one."""
    cpus = sorted(os.sched_getaffinity(0))
    return cpus[-1] if len(cpus) > 1 else None


@dataclass
class Probe:
    """/healthz every 100 ms, and what the backend holds, while a load runs. Use as a context manager."""

    backend: Backend
    asked: list[tuple[float, float]] = field(default_factory=list)  # when, and how long it took in ms
    most_mib: float = 0.0

    def __enter__(self) -> Self:
        self._over, self._begun = threading.Event(), time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def between(self, from_s: float, to_s: float) -> list[float]:
        """How long those took that were asked in this part of the time, in ms."""
        return [took_ms for at, took_ms in self.asked if from_s <= at < to_s]

    def _run(self) -> None:
        while not self._over.wait(0.1):
            began, ok = time.monotonic(), False
            try:
                connection = http.client.HTTPConnection(urlsplit(self.backend.base_url).netloc, timeout=_PATIENCE_S)
                connection.request("GET", "/healthz")
                ok = connection.getresponse().status == 200
                connection.close()
            except (OSError, http.client.HTTPException):
                pass  # as slow as our patience
            took_ms = (time.monotonic() - began) * 1000 if ok else _PATIENCE_S * 1000
            self.asked.append((began - self._begun, took_ms))
            self.most_mib = max(self.most_mib, memory_mib(self.backend.pid))


@contextlib.contextmanager
def apart(rig: Rig, backend: Backend) -> Iterator[None]:
    """The servers are kept off the CPU of the flood."""
    with kept_off(spare_cpu(), (backend.pid, rig.postgres_pid(), rig.pid)):
        yield


def token_file(tokens: list[str]) -> str:
    """Where the flood reads its tokens."""
    file = workspace("tokens") / "tokens"
    file.write_text("\n".join(tokens), encoding="utf-8")
    return str(file)


def told(outcome: Outcome) -> str:
    """One line for the facts."""
    return (
        f"{outcome.per_s:.0f} answered/s of {outcome.planned}, {outcome.shed} shed, {outcome.lost} lost,"
        f" {outcome.gave_up} found no connection; p50 {outcome.p50_ms}, p99 {outcome.p99_ms}, slowest"
        f" {outcome.slowest_ms} ms after they were due; p99 {outcome.service_p99_ms} ms after they were sent,"
        f" {outcome.shed_p99_ms} ms if shed; {outcome.connections} connections;"
        f" generator lag p99 {outcome.lag_p99_ms} ms, {outcome.cpu} CPUs, {outcome.cpu_us} us a heartbeat"
    )


def knee(rig: Rig, order: Order, duration_s: float) -> float:
    """The highest rate, in steps of a quarter, at which nearly all are answered with 200 and in time."""
    held, per_s = 0.0, _FIRST_PER_S
    while True:
        (outcome,) = flood(replace(order, stages=(Stage(per_s, duration_s),)))
        rig.say(f"overload: {per_s:.0f}/s: {told(outcome)}")
        good = outcome.answered >= _HELD_SHARE * outcome.planned
        if not good or outcome.p99_ms is None or outcome.p99_ms >= _HELD_P99_MS:
            break
        held, per_s = per_s, per_s * _STEPS
    if not held:
        raise Void(f"{_FIRST_PER_S:.0f} heartbeats/s were not held")
    return held


def overload(rig: Rig) -> list[Judgement]:
    """The knee, then once, twice and four times as much, then half."""
    tokens = rig.tokens[:_DEVICES]
    with rig.backend() as backend:
        Wrk(tokens).warm(backend.base_url + HEARTBEAT)
        order = Order(backend.base_url + HEARTBEAT, token_file(tokens), (), cpu=spare_cpu())
        with apart(rig, backend):
            per_s = knee(rig, order, _STAGE_S / 3)
            before_mib = memory_mib(backend.pid)
            with Probe(backend) as probe:
                stages = (*(Stage(times * per_s, _STAGE_S) for times in _TIMES), Stage(per_s / 2, 8.0))
                *loaded, after = flood(replace(order, stages=stages))
    outcomes = dict(zip(_TIMES, loaded, strict=True))
    for times, outcome in outcomes.items():
        rig.facts[f"overload: {times} x the knee of {per_s:.0f}/s"] = told(outcome)
    rig.facts["overload: then half the knee"] = told(after)
    rig.facts["overload: memory before and at most, MiB"] = f"{before_mib:.0f}, {probe.most_mib:.0f}"
    rig.facts["overload: /healthz before, slowest ms"] = round(max(probe.between(0, 2 * _STAGE_S)))
    mute = sum(outcome.mute + sum(outcome.other.values()) for outcome in (*outcomes.values(), after))
    n = outcomes[4].answered
    return [
        GOODPUT.judge_value(outcomes[4].per_s / outcomes[1].per_s if outcomes[1].per_s else None, n),
        PATIENCE.judge_value(outcomes[4].service_p99_ms, n),
        SOON.judge_value(outcomes[4].shed_p99_ms, outcomes[4].shed),
        HEALTH.judge(probe.between(2 * _STAGE_S, 3 * _STAGE_S)),
        MEMORY.judge_value(probe.most_mib - before_mib, len(probe.asked)),
        RECOVERY.judge_value(after.bad_until_s if after.answered else None, after.answered),
        MUTE.judge_value(mute, n),
    ]
