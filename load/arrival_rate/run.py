"""One run of open arrivals from seeding to what it left behind. It judges nothing.

The legs: a warm-up, in which every device beats once (the server then knows its token without bcrypt), and what is
measured. A conductor greenlet leads through them; `end` stops it at any time, and what is known by then remains.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Protocol

import gevent

from harness.settings import Target
from harness.verdict.cpu_contention import Strangers
from harness.verdict.thresholds import Check, Status
from load.arrival_rate.generator import Outfit
from load.arrival_rate.schedule import HEARTBEAT, WARM_UP, Leg, beats_in
from load.arrival_rate.target import Left
from load.arrival_rate.workers import Crew
from load.measurements.histogram import Stage, Timings
from load.measurements.process_stats import Watch
from load.measurements.server_clock import ServerClock
from load.measurements.tally import Rows, Tally
from load.progress import Now
from load.verdict.knee import End, climb
from load.workloads.arrival_rate import Capacity, Fleet, Soak

_LEAD_S = 0.5  # between the order and the first beat: it must reach every process
_PREPARED = ("preparation", "the fleet is seeded, and every device had its first heartbeat")
_UNPREPARED = Check(*_PREPARED, Status.INCONCLUSIVE, "not finished")


class Stands(Protocol):
    """What load.arrival_rate.target.Ground is."""

    def seed(self, count: int) -> list[str]: ...
    def clock(self) -> ServerClock: ...
    def begin(self, run: str, now: float) -> None: ...
    def checks(self, run: str, left: Left, bucket_s: float) -> list[Check]: ...


@dataclass
class Run:
    """What is known of a run. Times are server time; `origin`: its beginning."""

    fleet: Fleet
    id: str
    seed: int
    target: str
    capabilities: frozenset[str]
    origin: float
    phase: str = "seeding"
    leg: Leg | None = None
    preparation: Check = _UNPREPARED
    warm_up: Tally | None = None
    measured: Tally | None = None
    stages: list[Stage] = field(default_factory=list)
    end: End | None = None
    checks: list[Check] = field(default_factory=list)
    watch: Watch | None = None
    strangers: float | None = None
    clock: ServerClock = field(default_factory=lambda: ServerClock(time.time() - time.monotonic(), 0.0, "this machine"))
    doubts: list[str] = field(default_factory=list)

    @property
    def tallies(self) -> list[Tally]:
        return [tally for tally in (self.warm_up, self.measured) if tally is not None]

    @property
    def timings(self) -> Timings:
        """Of all legs together."""
        timings = Timings(self.fleet.interval_s, self.fleet.timeout_s)
        for tally in self.tallies:
            timings.merge(tally.timings)
        return timings


class Arrivals:
    """Conducts one run."""

    def __init__(self, fleet: Fleet, target: Target, crew: Crew, ground: Stands, seed: int | None = None) -> None:
        self.crew = crew
        self._target, self._ground = target, ground
        self.run = Run(
            fleet,
            id=f"{fleet.name}-{int(time.time()):08x}{secrets.token_hex(1)}",
            seed=secrets.randbits(32) if seed is None else seed,
            target=target.base_url,
            capabilities=target.capabilities,
            origin=time.time(),
        )
        self._conductor: gevent.Greenlet[[], None] | None = None

    def begin(self) -> gevent.Greenlet[[], None]:
        """Start it; returns the greenlet that ends with the run."""
        self._conductor = gevent.spawn(self._conduct)
        return self._conductor

    def end(self, why: str) -> None:
        """Stop a run that is not over: it is then inconclusive. Harmless after its end."""
        if self._conductor is not None and not self._conductor.ready():
            self._conductor.kill(timeout=2.0)
            self.run.doubts.append(why)
            if self.run.phase == "measuring":
                self.run.measured = self.crew.partial()
        self.crew.stop()
        if self.run.watch is not None:
            self.run.watch.stop()

    def now(self) -> Now:
        """Where the run is, for people."""
        run, sent = self.run, self.crew.progress()
        beats = run.leg.beats if run.leg else None
        figures = f"{sent.sent}/{beats or '?'} sent · {sent.answered} answered"
        figures += f" · {sent.failed} failed" if sent.failed else ""
        return Now(run.phase, figures, sent.sent, beats, f" · {figures}" if run.leg else "")

    def _conduct(self) -> None:
        run = self.run
        try:
            if self._prepare():
                strangers = Strangers(self._target.backend_pid)
                self._measure()
                run.strangers = strangers.share()
                run.phase = "looking at what it left behind"
                run.checks += self._ground.checks(run.id, self._left(), run.fleet.bucket_s)
        except Exception as error:  # noqa: BLE001  # whatever broke in the harness, the run proves nothing
            run.doubts.append(_tell(error))
        run.phase = "over"

    def _prepare(self) -> bool:
        """Seed and warm up. What goes wrong is kept in `run.preparation`."""
        run, fleet = self.run, self.run.fleet
        try:
            run.clock = self._ground.clock()
            run.origin = run.clock.now()
            self._ground.begin(run.id, run.origin)
            tokens = self._ground.seed(fleet.devices)
            self.crew.equip(self._outfit(tokens))
        except Exception as error:  # noqa: BLE001  # whatever broke, the run proves nothing and must say so
            run.preparation = Check(*_PREPARED, Status.INCONCLUSIVE, _tell(error))
            return False
        run.phase = "warming up"
        run.warm_up = self._leg(WARM_UP, fleet.warm_up_per_s, fleet.devices, at_once=fleet.warm_up_at_once)
        run.preparation = _first_heartbeats(run.warm_up)
        return run.preparation.status is Status.PASS

    def _outfit(self, tokens: list[str]) -> Outfit:
        run, fleet = self.run, self.run.fleet
        return Outfit(
            base_url=self._target.base_url,
            tokens=tokens,
            devices=fleet.devices,
            seed=run.seed,
            run=run.id,
            origin=run.origin,
            skew_s=run.clock.now() - time.time(),
            uncertainty_s=run.clock.uncertainty_s,
            interval_s=fleet.interval_s,
            timeout_s=fleet.timeout_s,
            bucket_s=fleet.bucket_s,
        )

    def _measure(self) -> None:
        run, fleet = self.run, self.run.fleet
        gevent.sleep(fleet.settle_s)
        run.phase = "measuring"
        if isinstance(fleet, Capacity):
            self._climb(fleet)
            return
        if isinstance(fleet, Soak) and self._target.backend_pid is not None:
            run.watch = Watch(self._target.backend_pid, fleet.sample_every_s, lambda: run.clock.now() - run.origin)
        run.measured = self._leg(HEARTBEAT, fleet.per_s, beats_in(fleet.duration_s, fleet.per_s))
        if run.watch is not None:
            run.watch.stop()

    def _climb(self, capacity: Capacity) -> None:
        run, per_s, first = self.run, capacity.per_s, 0
        while run.end is None:
            run.phase = f"stage of {per_s:g}/s"
            tally = self._leg(HEARTBEAT, per_s, beats_in(capacity.duration_s, per_s), first)
            assert run.leg is not None
            climbed = climb(tally, run.leg, run.origin, capacity)
            run.stages.append(climbed.stage)
            run.end = climbed.end
            if run.measured is None:
                run.measured = tally
            else:
                run.measured.merge(tally)
            first = (first + run.leg.beats) % capacity.devices
            per_s = capacity.next_rate(per_s)
            gevent.sleep(capacity.settle_s)

    def _leg(self, kind: str, per_s: float, beats: int, first: int = 0, at_once: int = 0) -> Tally:
        self.run.leg = Leg(kind, self.run.clock.now() + _LEAD_S, per_s, beats, first, at_once)
        return self.crew.run(self.run.leg)

    def _left(self) -> Left:
        rows = Rows()
        for tally in self.run.tallies:
            rows.sure |= tally.rows.sure
            rows.spans += tally.rows.spans
        unanswered = sum(tally.unanswered for tally in self.run.tallies)
        return Left(rows, sum(tally.answered for tally in self.run.tallies), unanswered)


def _first_heartbeats(tally: Tally) -> Check:
    """A refusal is the product's fault; a beat without an answer may be a target that was never there."""
    took = f"{tally.answered} of {tally.planned} first heartbeats answered with 200"
    if tally.answered == tally.planned:
        return Check(*_PREPARED, Status.PASS, took)
    worst = "; ".join(f"{count} times {what}" for what, count in tally.others.most_common(3))
    return Check(*_PREPARED, Status.FAIL if tally.answered else Status.INCONCLUSIVE, f"{took}; {worst}")


def _tell(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]
