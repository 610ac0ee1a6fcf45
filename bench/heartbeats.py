"""The heartbeats of one backend, as `--against` compares them: how many a second, at what cost, and how late.

The capacity is that of a closed loop (wrk), the latency that of an open one. A new process serves each sample, so that
the luck of a process (its hash seed, its place in memory) is part of the spread.
"""

from __future__ import annotations

import statistics
from typing import Final

from bench import steady
from bench.capacity import LEAST_ROWS, Worker, next_period
from bench.pairs import Figure
from bench.rig import HEARTBEAT, Disturbed, Refused, Rig, Void, client, refused
from bench.wrk import BODY
from harness.stack.backend import Backend
from harness.verdict.thresholds import percentile

_RATE: Final = 200.0
_STEADY_S: Final = 5.0  # 1,000 heartbeats: more than a p95 wants
FIGURES: Final = (
    Figure("heartbeats per second, one worker", "/s", higher_is_better=True),
    Figure("CPU per heartbeat, backend", "us"),
    Figure(f"heartbeat p50 at {_RATE:g}/s", "ms"),
    Figure(f"heartbeat p95 at {_RATE:g}/s", "ms"),
)


def sample(rig: Rig) -> list[float]:
    """One value per figure. Refused where heartbeats get other answers than 200, Disturbed by a late generator."""
    with rig.backend() as backend:
        url = backend.base_url + HEARTBEAT
        _first(rig, backend, rig.tokens[0])
        rig.wrk.warm(url)
        worker = Worker(rig, "one worker", backend)
        rates = [worker.round()[0] for _ in range(rig.plan.rounds)]
        if worker.trouble:
            raise Refused(worker.trouble[0])
        if (share := statistics.median(worker.shares)) < LEAST_ROWS:
            raise Void(f"only {share:.0%} of the heartbeats became rows")
        next_period(rig)
        beats = steady.send(url, rig.tokens, _RATE, _STEADY_S)
    if bad := sum(beat.status != 200 for beat in beats):
        raise Refused(f"{bad} of {len(beats)} heartbeats at {_RATE:g}/s were not answered with 200")
    if why := steady.trouble(beats):
        raise Disturbed(why)
    latencies = steady.latencies_ms(beats)
    return [
        statistics.median(rates),
        statistics.median(worker.cpu_us),
        percentile(latencies, 0.5),
        percentile(latencies, 0.95),
    ]


def _first(rig: Rig, backend: Backend, token: str) -> None:
    """A backend that does not take the fleet's tokens says so at once, and not after a minute of refusals."""
    headers = {"Content-Type": "application/json"}
    caller = client(backend.base_url, rig.stack.env)
    answer = caller.bearer(token, "POST", HEARTBEAT, content=BODY.encode(), headers=headers)
    if answer.status != 200:
        raise refused("the heartbeat of a seeded device", answer.status, answer.body)
