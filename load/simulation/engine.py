"""What all scenarios of devices share: set up, make timed calls, end early. It knows neither Locust nor verdicts.

Whoever drives an engine calls `prepare`, then `conduct`, and `live` in a greenlet per device, which may start before.
Needs gevent's monkey patch, which importing locust applies.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore
from gevent.pool import Group

from harness.devices.device import Device
from harness.http.client import Answer, Client, Transport, TransportError
from harness.settings import Target
from harness.verdict.thresholds import Status, percentile
from load.measurements import server_clock
from load.measurements.run import in_short
from load.measurements.samples import Sample
from load.progress import Now
from load.simulation.observer import Observations, Observer
from load.simulation.run import DUPLICATE, HEARTBEAT, SimulatedDevice, SimulationRun
from load.simulation.setup import NotReady
from load.verdict.verdict import Criteria
from load.workloads.simulation import Simulated

SETTING_UP_WITHIN_S = 60.0


class Engine(ABC):
    """One run against one target. `admin` is the transport of the admin and of the metrics scraper."""

    criteria: Criteria[SimulationRun, Observations]
    observer: Observer

    def __init__(self, scenario: Simulated, target: Target, admin: Transport, seed: int | None = None) -> None:
        self.target = target
        self.client = Client(admin, target.admin_key, target.hmac_secret)
        self.run = SimulationRun.of(scenario, target, seed)
        self.greenlets = Group()
        self.entrance = BoundedSemaphore(scenario.at_once)
        self.arranged = Event()  # the preparation is over, well or not
        self.settled = {"ready": 0, "done": 0}  # how many devices have set up, and have ended

    def prepare(self) -> None:
        """Everything that comes before the devices. What goes wrong is kept in `run.preparation`."""
        run = self.run
        run.enter("preparing")
        outcome, detail = Status.INCONCLUSIVE, ""
        try:
            run.clock = server_clock.measure(
                self.target.base_url, self.target.database_url, lambda: self.client.request("GET", "/healthz")
            )
            run.started_at = run.clock.now()
            self.observer.begin()
            outcome, detail = Status.PASS, self.equip()
        except NotReady as refusal:
            outcome, detail = refusal.status, str(refusal)
        except Exception as error:  # noqa: BLE001  # whatever broke, the run proves nothing and must say so
            detail = in_short(error)
        finally:
            run.prepared(outcome, detail)
            self.arranged.set()

    @abstractmethod
    def equip(self) -> str:
        """Make what the devices need; returns what that was. Raises NotReady, TransportError, psycopg.Error."""

    @abstractmethod
    def live(self, number: int, transport: Transport) -> None:
        """Be the device `number`, to its end."""

    @abstractmethod
    def conduct(self) -> None:
        """Lead the devices through the run; returns when all is quiet."""

    def wait_for(self, what: str, within_s: float) -> bool:
        """Whether all devices have `settled` that much in time."""
        deadline = time.monotonic() + within_s
        while self.settled[what] < self.run.scenario.devices and time.monotonic() < deadline:
            gevent.sleep(0.02)
        return self.settled[what] >= self.run.scenario.devices

    def at(self, when: float, act: Callable[[], Any]) -> None:
        """Call it at this server time, or at once when that is past."""
        gevent.sleep(max(0.0, when - self.run.clock.now()))
        act()

    def timed(
        self, kind: str, device: SimulatedDevice, call: Callable[[Device], Answer], intended: float | None = None
    ) -> Answer | None:
        """Make one call of a device and record it, answered or not. intended: server time; None: now."""
        assert device.client is not None
        sent = self.run.clock.now()
        answer: Answer | None = None
        error = ""
        try:
            answer = call(device.client)
        except TransportError as lost:
            error = str(lost)
        status = answer.status if answer is not None else 0
        deduplicated: bool | None = None
        if answer is not None and status == 200 and kind in (HEARTBEAT, DUPLICATE):
            try:
                deduplicated = answer.json()["deduplicated"]
            except (ValueError, LookupError, TypeError):
                error = "the answer does not say whether it was deduplicated"  # None is what no check accepts
        when = sent if intended is None else intended
        self.run.samples.add(Sample(kind, device.alias, when, sent, self.run.clock.now(), status, deduplicated, error))
        if status != 200:
            self.run.refused(f"{device.alias}: {kind} got {status or 'no answer'} {error}".strip())
        return answer

    def now(self) -> Now:
        """Where the run is, for people."""
        run, shown = self.run, _figures(self.run)
        started, duration_s = run.stream_started_at, run.scenario.duration_s
        done_s = 0.0 if started is None else min(max(0.0, run.clock.now() - started), duration_s)
        line = f" {done_s:.0f}/{duration_s:g} s · {shown}" if started else ""
        return Now(run.phase, shown, done_s, duration_s or None, line)

    def abandon(self, why: str) -> None:
        """Stop everything at once: Ctrl-C, or the driver ended the run. Nothing it measured proves anything."""
        self.run.interrupted = True
        self.run.doubts.append(why)
        self.arranged.set()
        self.release()
        self.greenlets.kill(timeout=2.0)

    @abstractmethod
    def release(self) -> None:
        """Let every device that still waits go home."""


def _figures(run: SimulationRun) -> str:
    """The run in one line: heartbeats, duplicates, p95 so far, commands."""
    sent = run.heartbeats
    latencies = [sample.latency_ms for sample in sent if sample.ok]
    failed = len(sent) - len(latencies)
    parts = [
        f"{len(sent)}/{len(run.planned) or '?'} heartbeats",
        f"{sum(bool(sample.deduplicated) for sample in sent)} deduplicated",
        f"p95 {percentile(latencies, 0.95):.1f} ms" if latencies else "p95 -",
        f"{run.completed}/{len(run.devices) or '?'} commands done",
    ]
    return " · ".join(parts + ([f"{failed} failed"] if failed else []))
