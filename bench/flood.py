"""Heartbeats past the knee, by the open loop (harness/open_loop) in a process of its own: what became of each stage."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from bench.wrk import BODY
from harness.open_loop.exchange import Exchange
from harness.open_loop.loop import OpenLoop
from harness.processes.child import allow_descriptors, bare_environment, python_module, run_to_end, workspace
from harness.settings import HarnessError
from harness.verdict.thresholds import percentile

SHED: Final = (429, 503)


@dataclass(frozen=True)
class Stage:
    """So many beats a second for so long.

    until: the stage ends with its time, or when all that was sent is answered, or when every beat was heard: then
    whoever is shed sends again after its Retry-After.
    """

    per_s: float
    duration_s: float
    until: Literal["time", "answered", "heard"] = "time"


@dataclass
class Outcome:
    """What became of the beats of a stage. Latencies are answered - intended, in ms, of those answered with 200.

    `service_p99_ms` and `shed_p99_ms`: answered - sent, of the yes and of the sheds: without the wait for a connection,
    which a device with one of its own does not have.

    `statuses`: answers by status; `mute`: sheds without a Retry-After; `lost`: no answer in time, or a connection cut;
    `gave_up`: never sent, since no connection came free in time; `bad_until_s`: after the beginning of the stage, the
    intended time of the last beat that was shed, lost or slow; `heard_s`: when the last 200 came;
    `connections`: in use at once; `cpu`: CPUs that the flood kept busy; `cpu_us`: its CPU time for one planned beat.
    """

    planned: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    mute: int = 0
    lost: int = 0
    gave_up: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    slowest_ms: float | None = None
    service_p99_ms: float | None = None
    shed_p99_ms: float | None = None
    per_s: float = 0.0
    bad_until_s: float = 0.0
    heard_s: float = 0.0
    connections: int = 0
    lag_p99_ms: float = 0.0
    cpu: float = 0.0
    cpu_us: float | None = None

    @property
    def answered(self) -> int:
        return self.statuses.get("200", 0)

    @property
    def shed(self) -> int:
        return sum(self.statuses.get(str(status), 0) for status in SHED)

    @property
    def other(self) -> dict[str, int]:
        """Answers that are neither a yes nor a shed."""
        known = {"200", *map(str, SHED)}
        return {status: n for status, n in self.statuses.items() if status not in known}


@dataclass(frozen=True)
class Order:
    """What the process is told. patient: who is shed lets its connection rest for its Retry-After, as a device does."""

    url: str
    tokens: str  # a file, one a line
    stages: Sequence[Stage]
    connections: int = 4000
    timeout_s: float = 10.0
    slow_ms: float = 150.0
    cpu: int | None = None  # to stay on
    patient: bool = True


def flood(order: Order) -> list[Outcome]:
    """Run it in a process of its own, one outcome per stage. HarnessError when that breaks."""
    folder = workspace("flood")
    (folder / "order.json").write_text(json.dumps(asdict(order)), encoding="utf-8")
    argv, env = python_module("bench.flood")
    within_s = 60 + 2 * sum(stage.duration_s + order.timeout_s for stage in order.stages)
    within_s += 600 if any(stage.until == "heard" for stage in order.stages) else 0
    code, said = run_to_end([*argv, str(folder)], env=bare_environment(env), within_s=within_s)
    if code:
        raise HarnessError(f"the flood ended with exit code {code}: {said.strip()[-300:]}")
    return [Outcome(**one) for one in json.loads((folder / "outcomes.json").read_text(encoding="utf-8"))]


_PLANNED, _AGAIN = "planned", "again"


class _Flood:
    """Lives for all stages; connections stay open from one to the next."""

    def __init__(self, order: Order) -> None:
        self._order = order
        parts = urlsplit(order.url)
        self._loop = OpenLoop(
            f"{parts.scheme}://{parts.netloc}", connections=order.connections, timeout_s=order.timeout_s
        )
        head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer "
        tail = f"\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}"
        tokens = Path(order.tokens).read_text(encoding="utf-8").split()
        self._requests = [f"{head}{token}{tail}".encode() for token in tokens]
        self._device = 0
        self._random = random.Random(0)  # noqa: S311 - a crowd's jitter is no secret

    def run(self, stage: Stage) -> Outcome:
        self._stage, self._outcome = stage, Outcome(planned=int(stage.per_s * stage.duration_s))
        self._latencies: list[float] = []
        self._services: list[float] = []
        self._sheds: list[float] = []
        self._statuses: Counter[str] = Counter()
        self._lags: list[float] = []
        self._begun, cpu = time.monotonic() + 0.01, time.process_time()
        self._loop.busiest = 0
        until = self._begun + stage.duration_s if stage.until == "time" else None
        # A request without an answer when the time is up belongs to no stage.
        unsent = self._loop.run(self._plan(), self, until=until)
        self._outcome.gave_up += unsent
        return self._concluded(time.process_time() - cpu)

    def released(self, exchange: Exchange) -> None:
        """Of the loop."""
        if exchange.kind == _PLANNED:
            self._lags.append((exchange.released - exchange.due) * 1000)

    def ended(self, exchange: Exchange) -> float:
        """Of the loop: for how many seconds the connection must rest, since the answer asks for it."""
        at = exchange.head.find(b"\r\nretry-after:") if exchange.status in SHED else -1
        after_s = float(exchange.head[at + 14 :].partition(b"\r")[0]) if at >= 0 else 0.0
        if exchange.due >= self._begun:  # else it is of the stage before
            self._count(exchange, after_s if at >= 0 else None)
        return after_s if self._order.patient else 0.0

    def _plan(self) -> Iterator[Exchange]:
        for number in range(self._outcome.planned):
            due, device = self._begun + number / self._stage.per_s, self._device
            self._device = (device + 1) % len(self._requests)
            yield Exchange(due, self._requests[device], _PLANNED, device)

    def _again(self, exchange: Exchange, in_s: float) -> None:
        """Where every beat must be heard, it is sent again."""
        if self._stage.until == "heard":
            due = exchange.ended + in_s
            self._loop.later(Exchange(due, exchange.data, _AGAIN, exchange.subject))

    def _count(self, exchange: Exchange, after_s: float | None) -> None:
        """after_s: the Retry-After of a shed; None: there was none."""
        status, outcome = exchange.status, self._outcome
        took_ms, service_ms = ((exchange.ended - since) * 1000 for since in (exchange.due, exchange.sent))
        if status:
            self._statuses[str(status)] += 1
        if status == 200:
            self._latencies.append(took_ms)
            self._services.append(service_ms)
            outcome.heard_s = exchange.ended - self._begun
        elif status in SHED:
            self._sheds.append(service_ms)
            if after_s is None:
                outcome.mute += 1
            else:
                # A second's fraction of its own, as the clocks of devices have it.
                self._again(exchange, after_s + self._random.random())
        elif not status and exchange.sent:
            outcome.lost += 1
            self._again(exchange, 1 + self._random.random())
        elif not status and self._stage.until == "heard":
            self._again(exchange, 0.0)
            return
        elif not status:
            outcome.gave_up += 1
        if status != 200 or took_ms > self._order.slow_ms:
            outcome.bad_until_s = max(outcome.bad_until_s, exchange.due - self._begun)

    def _concluded(self, cpu_s: float) -> Outcome:
        outcome, took_s = self._outcome, time.monotonic() - self._begun
        outcome.connections = self._loop.busiest
        outcome.statuses = dict(self._statuses)
        outcome.per_s = round(outcome.answered / took_s, 1)
        if self._latencies:
            outcome.p50_ms, outcome.p99_ms = (round(percentile(self._latencies, q), 2) for q in (0.5, 0.99))
            outcome.slowest_ms = round(max(self._latencies), 2)
            outcome.service_p99_ms = round(percentile(self._services, 0.99), 2)
        if self._sheds:
            outcome.shed_p99_ms = round(percentile(self._sheds, 0.99), 2)
        outcome.lag_p99_ms = round(percentile(self._lags, 0.99), 2) if self._lags else 0.0
        outcome.cpu = round(cpu_s / took_s, 2)
        outcome.cpu_us = round(cpu_s / len(self._lags) * 1e6, 1) if self._lags else None
        return outcome


def _main(folder: Path) -> None:
    given: dict[str, Any] = json.loads((folder / "order.json").read_text(encoding="utf-8"))
    order = Order(**{**given, "stages": [Stage(**stage) for stage in given["stages"]]})
    if order.cpu is not None:
        os.sched_setaffinity(0, {order.cpu})
    allow_descriptors()
    loop = _Flood(order)
    outcomes = [asdict(loop.run(stage)) for stage in order.stages]
    (folder / "outcomes.json").write_text(json.dumps(outcomes), encoding="utf-8")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
