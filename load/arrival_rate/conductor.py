"""Conducts a run at an arrival rate from seeding to what it left behind. It judges nothing.

The legs: a warm-up, in which every device sends once (the server then knows its token without bcrypt), and what is
measured. A greenlet leads through them; `end` stops it at any time, and what is known by then remains.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import gevent

from harness.settings import Target
from harness.verdict.cpu_contention import Strangers
from harness.verdict.thresholds import Status
from load.arrival_rate.knee import climb
from load.arrival_rate.run import ArrivalRateRun
from load.arrival_rate.schedule import MEASURED, WARM_UP, Leg
from load.arrival_rate.thresholds import criteria
from load.arrival_rate.workers import Workers
from load.arrival_rate.workload import Assignment, Observations, Subject
from load.measurements.process_stats import Watch
from load.measurements.run import OVER, in_short
from load.measurements.tally import Tally
from load.progress import Now
from load.verdict.verdict import write_verdict
from load.workloads.arrival_rate import ArrivalRate, Capacity, Phase

_LEAD_S = 0.5  # between the order and the first request: it must reach every process
_MEASURING = "measuring"


class Conductor:
    """Conducts one run."""

    def __init__(
        self, scenario: ArrivalRate, target: Target, workers: Workers, subject: Subject, seed: int | None = None
    ) -> None:
        self.workers = workers
        self._target, self._subject = target, subject
        self.run = ArrivalRateRun.of(scenario, target, seed)
        self._leg_now: Leg | None = None
        self._next_device = 0
        self._observations: Observations | None = None
        self._conductor: gevent.Greenlet[[], None] | None = None

    def conclude(self, directory: Path) -> dict[str, Any]:
        """Judge the run as it stands and write its artifacts. Returns the document of result.json."""
        run, now = self.run, self.run.clock.now()
        run.enter(OVER, now)
        judge_by = criteria(run.scenario, self._subject)
        return write_verdict(run, judge_by, self._observations, now, directory)

    def begin(self) -> gevent.Greenlet[[], None]:
        """Start it; returns the greenlet that ends with the run."""
        self._conductor = gevent.spawn(self._conduct)
        return self._conductor

    def end(self, why: str) -> None:
        """Stop a run that is not over: it is then inconclusive. Harmless after its end."""
        if self._conductor is not None and not self._conductor.ready():
            self._conductor.kill(timeout=2.0)
            self.run.interrupted = True
            self.run.doubts.append(why)
            if self.run.phase == _MEASURING and self.run.measured is None:
                self.run.measured = self.workers.partial()
        self.workers.stop()
        if self.run.watch is not None:
            self.run.watch.stop()
        self._subject.close()

    def now(self) -> Now:
        """Where the run is, for people."""
        run, sent = self.run, self.workers.progress()
        total = self._leg_now.requests if self._leg_now else None
        figures = f"{sent.sent}/{total or '?'} sent · {sent.answered} answered"
        figures += f" · {sent.failed} failed" if sent.failed else ""
        return Now(run.phase, figures, sent.sent, total, f" · {figures}" if self._leg_now else "")

    def _conduct(self) -> None:
        run = self.run
        try:
            if self._prepare():
                others = Strangers(self._target.backend_pid)
                self._measure()
                run.other_cpu = others.share()
                run.enter("looking at what it left behind")
                self._observations = self._subject.observe(run)
        except Exception as error:  # noqa: BLE001  # whatever broke in the harness, the run proves nothing
            run.doubt(error)

    def _prepare(self) -> bool:
        """Seed and warm up. What goes wrong is kept in `run.preparation`."""
        run, scenario = self.run, self.run.scenario
        run.enter("seeding")
        try:
            run.clock = self._subject.clock()
            run.started_at = run.clock.now()
            self._subject.begin(run)
            self._subject.seed(self._whole())
            self.workers.configure(self._whole())
        except Exception as error:  # noqa: BLE001  # whatever broke, the run proves nothing and must say so
            run.prepared(Status.INCONCLUSIVE, in_short(error))
            return False
        run.enter("warming up")
        at_once = scenario.warm_up_at_once
        requests = scenario.warm_up_requests
        tally = self._send(Leg(WARM_UP, self._start(), scenario.warm_up_per_s, requests, at_once=at_once))
        self._subject.settle()
        run.warm_up = tally
        run.prepared(*_warmed_up(tally))
        return run.is_ready

    def _whole(self) -> Assignment:
        """All of the run."""
        run, scenario = self.run, self.run.scenario
        return Assignment(
            devices=scenario.devices,
            seed=run.seed,
            run=run.tag,
            origin=run.started_at,
            workload=scenario.workload,
            interval_s=scenario.interval_s,
            timeout_s=scenario.request_timeout_s,
            bucket_s=scenario.bucket_s,
            mix=scenario.mix,
        )

    def _measure(self) -> None:
        run, scenario = self.run, self.run.scenario
        gevent.sleep(scenario.pause_s)
        run.enter(_MEASURING)
        if isinstance(scenario, Capacity):
            self._climb(scenario)
            return
        if scenario.memory_growth is not None and self._target.backend_pid is not None:
            run.watch = Watch(
                self._target.backend_pid, scenario.sample_every_s, lambda: run.clock.now() - run.started_at
            )
        with self._subject.disturbed():
            for phase in scenario.phases:
                self._measured_leg(phase)
        if run.watch is not None:
            run.watch.stop()

    def _climb(self, capacity: Capacity) -> None:
        run, per_s = self.run, capacity.per_s
        while run.end is None:
            run.enter(f"stage of {per_s:g}/s")
            leg, tally = self._measured_leg(Phase(per_s, capacity.duration_s))
            climbed = climb(tally, leg, run.started_at, capacity)
            run.steps.append(climbed.stage)
            run.end = climbed.end
            per_s = capacity.next_rate(per_s)
            gevent.sleep(capacity.pause_s)

    def _measured_leg(self, phase: Phase) -> tuple[Leg, Tally]:
        """The next leg, which goes on with the device after the last one, and what it counted."""
        first = self._next_device
        leg = Leg(MEASURED, self._start(), phase.per_s, phase.requests, first, to_per_s=phase.to_per_s)
        self._next_device = (leg.first + leg.requests) % self.run.scenario.devices
        tally = self._send(leg)
        if self.run.measured is None:
            self.run.measured = deepcopy(tally)
        else:
            self.run.measured.merge(tally)
        return leg, tally

    def _start(self) -> float:
        return self.run.clock.now() + _LEAD_S

    def _send(self, leg: Leg) -> Tally:
        self._leg_now = leg
        return self.workers.run(leg)


def _warmed_up(tally: Tally) -> tuple[Status, str]:
    """A refusal is the product's fault; a request without an answer may be a target that was never there."""
    took = f"{tally.answered} of {tally.planned} first requests answered as wanted"
    if tally.answered == tally.planned:
        return Status.PASS, took
    worst = "; ".join(f"{count} times {what}" for what, count in tally.others.most_common(3))
    return Status.FAIL if tally.answered else Status.INCONCLUSIVE, f"{took}; {worst}"
