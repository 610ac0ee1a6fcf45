"""How many heartbeats a second: one worker, two, against a no-op route and against PostgreSQL alone, in turns.

It deliberately takes no latency: full load shows how much, never how fast.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench.pgbench import Pgbench
from bench.rig import HEARTBEAT, Rig, Void, client, counted, listed, median_ratio
from harness.backend import Backend
from harness.budgets import Judgement, Limit, Status
from harness.client import Client
from harness.processes import Child, bare_environment, workspace
from harness.waiting import eventually

_SOURCE = "wrk, 64 connections, closed loop; medians of interleaved pairs"
TO_NOOP: Final = Limit("one worker / no-op route", "", ">=", 0.55, source=_SOURCE)
TO_PGBENCH: Final = Limit("one worker / pgbench, 16 clients", "", ">=", 0.35, source=_SOURCE)
TWO_TO_ONE: Final = Limit("two workers / one worker", "", ">=", 1.6, source=_SOURCE)
_CPUS_FOR_TWO = 4  # two workers, PostgreSQL and the generator


@contextlib.contextmanager
def noop(command: str) -> Iterator[tuple[str, int]]:
    """The no-op server by the backend's Python, with its URL and process id."""
    said = workspace("noop") / "port"
    with said.open("wb") as stdout:
        python = str(Path(command).with_name("python"))
        child = Child([python, str(Path(__file__).with_name("noop.py"))], env=bare_environment({}), stdout=stdout)
    try:
        eventually(lambda: child.poll() is not None or said.read_text().endswith("\n"), 20.0, what="the no-op server")
        if child.poll() is not None:
            raise Void(f"{python} cannot run the no-op server")
        yield f"http://127.0.0.1:{said.read_text().strip()}", child.pid
    finally:
        child.stop(2.0)


@dataclass
class _Worker:
    """A backend under full load, and what went wrong there."""

    rig: Rig
    name: str
    backend: Backend

    def __post_init__(self) -> None:
        self.trouble: list[str] = []
        self.shares: list[float] = []

    @property
    def admin(self) -> Client:
        return client(self.backend.base_url, self.rig.stack.env)

    def round(self) -> tuple[float, str]:
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
        one = _Worker(rig, "one worker", parts.enter_context(rig.backend()))
        workers = [one]
        if not plan.quick:
            workers.append(_Worker(rig, "two workers", parts.enter_context(rig.backend(env={"NEXMDM_WORKERS": "2"}))))
        for number, worker in enumerate(workers, 1):
            rig.say(f"capacity: {worker.name} meets {plan.devices} devices")
            # Each process checks a token once for itself, and a connection stays with one of them: hence more passes.
            rig.wrk.warm(worker.backend.base_url + HEARTBEAT, passes=1 if number == 1 else 4)
        pgbench = Pgbench(rig.stack.target.database_url or "", plan.pgbench_devices)

        def noop_round(path: str) -> tuple[float, str]:
            with rig.meter(server=noop_pid) as meter:
                load = rig.wrk.round(url + path, plan.round_s)
            if load.bad:
                raise Void(f"the no-op server: {load.bad} requests went wrong")
            return load.per_s, str(meter)

        def pgbench_round() -> tuple[float, str]:
            with rig.meter() as meter:
                rate = pgbench.round(plan.round_s)
            return rate, str(meter)

        contestants: dict[str, Callable[[], tuple[float, str]]] = {
            "no-op route": partial(noop_round, HEARTBEAT),
            **{worker.name: worker.round for worker in workers},
            "pgbench": pgbench_round,
            "bare route": partial(noop_round, "/"),
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
        _judged(TO_NOOP, rates["one worker"], rates["no-op route"], one.trouble),
        _judged(TO_PGBENCH, rates["one worker"], rates["pgbench"], one.trouble),
        _two_to_one(rig, rates, workers),
    ]


def _two_to_one(rig: Rig, rates: dict[str, list[float]], workers: list[_Worker]) -> Judgement:
    if len(workers) == 1:
        return TWO_TO_ONE.disabled("--quick leaves it out: two workers must meet every device first")
    judged = _judged(
        TWO_TO_ONE, rates["two workers"], rates["one worker"], [said for worker in workers for said in worker.trouble]
    )
    cpus = os.cpu_count() or 1
    if cpus < _CPUS_FOR_TWO:
        rig.facts["capacity: two workers / one worker, not judged"] = judged.observed
        return TWO_TO_ONE.disabled(
            f"{cpus} CPUs, {_CPUS_FOR_TWO} are needed: two workers share theirs with PostgreSQL and the generator"
        )
    return judged


def _judged(limit: Limit, rates: list[float], reference: list[float], trouble: list[str]) -> Judgement:
    """A round with an answer that was not 200 is void, and fails the row whatever the ratio."""
    ratio = median_ratio(rates, reference)
    if trouble:
        return Judgement(limit, ratio, len(rates), Status.FAIL, f"void: {trouble[0]}"[:300])
    return limit.judge_value(ratio, len(rates))
