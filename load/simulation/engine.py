"""What all scenarios of devices share: set up, make timed calls, end early. It knows neither Locust nor verdicts.

Whoever drives an engine calls `prepare`, then `conduct`, and `live` in a greenlet per device, which may start before.
Needs gevent's monkey patch, which importing locust applies.
"""

from __future__ import annotations

import secrets
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
from harness.verdict.thresholds import Check, Status
from load.measurements import server_clock
from load.measurements.observations import Collector
from load.measurements.run import Run, Seat
from load.measurements.samples import DUPLICATE, HEARTBEAT, Sample
from load.simulation.setup import NotReady
from load.verdict.verdict import Yardstick
from load.workloads.simulation import Scenario

SETTING_UP_WITHIN_S = 60.0


class Engine(ABC):
    """One run against one target. `admin` is the transport of the admin and of the metrics scraper."""

    yardstick: Yardstick
    collector: Collector

    def __init__(self, scenario: Scenario, target: Target, admin: Transport, seed: int | None = None) -> None:
        self.target = target
        self.client = Client(admin, target.admin_key, target.hmac_secret)
        self.run = Run(
            profile=scenario,
            id=f"{int(time.time()):08x}{secrets.token_hex(1)}",
            seed=secrets.randbits(32) if seed is None else seed,
            capabilities=target.capabilities,
            started_at=time.time(),
            target=target.base_url,
            secrets=[target.admin_key, target.hmac_secret],
        )
        self.clock = server_clock.ServerClock(time.time() - time.monotonic(), 0.0, "this machine")
        self.greenlets = Group()
        self.entrance = BoundedSemaphore(scenario.at_once)
        self.prepared = Event()
        self.settled = {"ready": 0, "done": 0}  # how many devices have set up, and have ended

    def prepare(self) -> None:
        """Everything that comes before the devices. What goes wrong is kept in `run.preparation`."""
        run = self.run
        run.enter("preparing", self.clock.now())
        outcome, detail = Status.INCONCLUSIVE, ""
        try:
            self.clock = server_clock.measure(
                self.target.base_url, self.target.database_url, lambda: self.client.request("GET", "/healthz")
            )
            run.clock_source, run.clock_uncertainty_s = self.clock.source, self.clock.uncertainty_s
            run.started_at = self.clock.now()
            self.collector.begin()
            outcome, detail = Status.PASS, self.equip()
        except NotReady as refusal:
            outcome, detail = refusal.status, str(refusal)
        except Exception as error:  # noqa: BLE001  # whatever broke, the run proves nothing and must say so
            detail = tell(error)
        finally:
            run.preparation = Check("preparation", run.preparation.title, outcome, detail)
            self.prepared.set()

    @abstractmethod
    def equip(self) -> str:
        """Make what the devices need; returns what that was. Raises NotReady, TransportError, psycopg.Error."""

    @abstractmethod
    def live(self, number: int, transport: Transport) -> None:
        """Be the device `number`, to its end."""

    @abstractmethod
    def conduct(self) -> None:
        """Lead the devices through the run; returns when all is quiet."""

    @property
    def ready(self) -> bool:
        """The preparation has passed."""
        return self.run.preparation.status is Status.PASS

    def wait_for(self, what: str, within_s: float) -> bool:
        """Whether all devices have `settled` that much in time."""
        deadline = time.monotonic() + within_s
        while self.settled[what] < self.run.profile.devices and time.monotonic() < deadline:
            gevent.sleep(0.02)
        return self.settled[what] >= self.run.profile.devices

    def at(self, when: float, act: Callable[[], Any]) -> None:
        """Call it at this server time, or at once when that is past."""
        gevent.sleep(max(0.0, when - self.clock.now()))
        act()

    def timed(
        self, kind: str, seat: Seat, call: Callable[[Device], Answer], intended: float | None = None
    ) -> Answer | None:
        """Make one call of a device and record it, answered or not. intended: server time; None: now."""
        assert seat.device is not None
        sent = self.clock.now()
        answer: Answer | None = None
        error = ""
        try:
            answer = call(seat.device)
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
        self.run.recorder.add(Sample(kind, seat.alias, when, sent, self.clock.now(), status, deduplicated, error))
        if status != 200:
            self.run.refused(f"{seat.alias}: {kind} got {status or 'no answer'} {error}".strip())
        return answer

    def abandon(self, why: str) -> None:
        """Stop everything at once: Ctrl-C, or the driver ended the run. Nothing it measured proves anything."""
        self.run.interrupted = True
        self.run.doubts.append(why)
        self.prepared.set()
        self.release()
        self.greenlets.kill(timeout=2.0)

    @abstractmethod
    def release(self) -> None:
        """Let every device that still waits go home."""


def tell(error: BaseException) -> str:
    """An exception in one short line."""
    return f"{type(error).__name__}: {error}"[:300]
