"""How many heartbeats a second: one worker, two, against a no-op route and against PostgreSQL alone, in turns.

It takes no latency: full load shows how much, never how fast.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from bench.pgbench import heartbeats
from bench.rig import HEARTBEAT, Rig, Void, client, counted, listed, median_ratio
from bench.wrk import Wrk
from harness.http.client import Client
from harness.processes.child import Child, announced, bare_environment, workspace
from harness.stack.backend import Backend
from harness.verdict.thresholds import Judgement, Limit, Status
from harness.waiting import eventually

_SOURCE = "wrk, 128 connections, closed loop; medians of interleaved pairs"
_NOT_YET: Final = Status.TARGET_MISSED
TO_NOOP: Final = Limit("one worker / no-op route", "", ">=", 0.45, breach=_NOT_YET, source=_SOURCE)
TO_PGBENCH: Final = Limit("one worker / pgbench, 16 clients", "", ">=", 1.5, breach=_NOT_YET, source=_SOURCE)
TWO_TO_ONE: Final = Limit("two workers / one worker", "", ">=", 1.6, source=_SOURCE)
LEAST_ROWS = 0.5  # of the heartbeats of a round: the others were duplicates, which cost less
_PERIOD_S = 10  # one row per device and period
_CPUS_FOR_TWO = 4  # two workers, PostgreSQL and the generator


def next_period(heard_at: float) -> None:
    """Wait until no device that was heard by then (since the epoch, seconds) was heard in the current ten seconds."""
    heard = heard_at // _PERIOD_S
    eventually(lambda: time.time() // _PERIOD_S > heard, 2 * _PERIOD_S, what="the next period")


@contextlib.contextmanager
def noop(command: str) -> Iterator[tuple[str, int]]:
    """The no-op server by the backend's Python, with its URL and process id."""
    said = workspace("noop") / "port"
    with said.open("wb") as stdout:
        python = str(Path(command).with_name("python"))
        child = Child([python, str(Path(__file__).with_name("noop.py"))], env=bare_environment({}), stdout=stdout)
    try:
        port = announced(child, said, 20.0, what=f"the no-op server of {python}").strip()
        yield f"http://127.0.0.1:{port}", child.pid
    finally:
        child.stop(2.0)


@dataclass
class Worker:
    """A backend under full load, and what went wrong there."""

    rig: Rig
    name: str
    backend: Backend
    trouble: list[str] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)

    @property
    def admin(self) -> Client:
        return client(self.backend.base_url, self.rig.stack.env)

    def round(self) -> tuple[float, str]:
        """Requests a second, and the CPUs; in a period of ten seconds in which no device was heard yet."""
        next_period(self.rig.wrk.ended_at)
        before = counted(self.admin)
        with self.rig.meter(backend=self.backend.pid) as meter:
            load = self.rig.wrk.round(self.backend.base_url + HEARTBEAT, self.rig.plan.round_s)
        found = counted(self.admin).since(before)
        self.shares.append(found.share_ingested)
        if load.bad or found.not_200:
            self.trouble.append(f"{self.name}: {load.refused} refused, {load.lost} lost, answers {found.not_200}")
        return load.per_s, str(meter)


def capacity(rig: Rig) -> list[Judgement]:
    """The three ratios of heartbeat capacity."""
    plan = rig.plan
    with contextlib.ExitStack() as parts:
        url, noop_pid = parts.enter_context(noop(rig.stack.command))
        one = Worker(rig, "one worker", parts.enter_context(rig.backend()))
        workers = [one]
        if not plan.quick:
            workers.append(Worker(rig, "two workers", parts.enter_context(rig.backend(env={"NEXMDM_WORKERS": "2"}))))
        for number, worker in enumerate(workers, 1):
            rig.say(f"capacity: {plan.devices} devices are new to {worker.name}")
            # Each process checks a token once for itself, and a connection stays with one of them: hence more passes.
            rig.wrk.warm(worker.backend.base_url + HEARTBEAT, passes=1 if number == 1 else 4)
        to_noop = Wrk(rig.tokens)
        pgbench = heartbeats(rig.stack.target.database_url or "", plan.pgbench_devices)

        def noop_round(path: str) -> tuple[float, str]:
            with rig.meter(server=noop_pid) as meter:
                load = to_noop.round(url + path, plan.round_s)
            if load.bad:
                raise Void(f"the no-op server: {load.bad} requests went wrong")
            return load.per_s, str(meter)

        def pgbench_round() -> tuple[float, str]:
            with rig.meter() as meter:
                rate = pgbench.round(plan.round_s)
            return rate, str(meter)

        contestants: dict[str, Callable[[], tuple[float, str]]] = {
            "no-op route": partial(noop_round, HEARTBEAT),
            one.name: one.round,
            "pgbench": pgbench_round,
            "bare route": partial(noop_round, "/"),
            **{worker.name: worker.round for worker in workers[1:]},
        }
        rates: dict[str, list[float]] = defaultdict(list)
        cpus: dict[str, str] = {}
        for number in range(1, plan.rounds + 1):
            for name, measure in contestants.items():
                rate, cpus[name] = measure()
                rates[name].append(rate)
            said = ", ".join(f"{name} {seen[-1]:.0f}" for name, seen in rates.items())
            rig.say(f"capacity {number}/{plan.rounds}: {said} a second")
    for name, seen in rates.items():
        rig.facts[f"capacity: {name}, per s"] = listed(seen)
        rig.facts[f"capacity: {name}, CPUs, last round"] = cpus[name]
    for worker in workers:
        rig.facts[f"capacity: {worker.name}, share that became rows"] = listed(worker.shares)
    return [
        _judged(TO_NOOP, rates["one worker"], rates["no-op route"], [one]),
        _judged(TO_PGBENCH, rates["one worker"], rates["pgbench"], [one]),
        _two_to_one(rig, rates, workers),
    ]


def _two_to_one(rig: Rig, rates: dict[str, list[float]], workers: list[Worker]) -> Judgement:
    if len(workers) == 1:
        return TWO_TO_ONE.disabled("--quick leaves it out: two workers must meet every device first")
    judged = _judged(TWO_TO_ONE, rates["two workers"], rates["one worker"], workers)
    cpus = os.cpu_count() or 1
    if cpus < _CPUS_FOR_TWO:
        rig.facts["capacity: two workers / one worker, not judged"] = judged.observed
        return TWO_TO_ONE.disabled(
            f"{cpus} CPUs, {_CPUS_FOR_TWO} are needed: two workers share theirs with PostgreSQL and the generator"
        )
    return judged


def _judged(limit: Limit, rates: list[float], reference: list[float], workers: Sequence[Worker]) -> Judgement:
    """A round with an answer that was not 200 is void, and fails the row whatever the ratio."""
    ratio = median_ratio(rates, reference)
    for worker in workers:
        if worker.trouble:
            return Judgement(limit, ratio, len(rates), Status.FAIL, f"void: {worker.trouble[0]}"[:300])
    judged = limit.judge_value(ratio, len(rates))
    share = min(statistics.median(worker.shares) for worker in workers)
    return judged if share >= LEAST_ROWS else judged.voided(f"only {share:.0%} of the heartbeats became rows")
