"""What engines whose users Locust starts have in common: set up, wait, end early. It knows neither Locust nor a user.

What drives an engine calls `prepare`, then `conduct`, and `live` in a greenlet per user, which may start before.
Needs gevent's monkey patch, which importing locust applies.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import gevent
from gevent.event import Event
from gevent.pool import Group

from harness.http.client import Client, Transport
from harness.settings import Target
from harness.verdict.thresholds import Status
from load.measurements import server_clock
from load.measurements.run import Run, in_short
from load.progress import Now
from load.verdict.verdict import Criteria

RunT = TypeVar("RunT", bound=Run)
Seen = TypeVar("Seen")
Seen_co = TypeVar("Seen_co", covariant=True)


class NotReady(Exception):
    """The run cannot begin. `status` says whether that is the product's fault."""

    def __init__(self, what: str, status: Status) -> None:
        self.status = status
        super().__init__(what)


class Observer(Protocol[Seen_co]):
    """Made before the run, so that it knows what was there already."""

    def begin(self) -> None:
        """Note what is there. Raises what the client and the parser raise."""
        ...

    def collect(self) -> Seen_co:
        """Read what came to be since."""
        ...


class Engine(ABC, Generic[RunT, Seen]):
    """One run against one target. `admin` is the transport of the admin and of the metrics scraper."""

    criteria: Criteria[RunT, Seen]
    observer: Observer[Seen]

    def __init__(self, run: RunT, target: Target, admin: Transport) -> None:
        self.run, self.target = run, target
        self.client = Client(admin, target.admin_key, target.hmac_secret)
        self.greenlets = Group()
        self.arranged = Event()  # the preparation is over, well or not
        self.settled = {"ready": 0, "done": 0}  # how many users have set up, and have ended

    def prepare(self) -> None:
        """Everything that comes before the users. What goes wrong is kept in `run.preparation`."""
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
        """Make what the users need; returns what that was. Raises NotReady, TransportError, psycopg.Error."""

    @abstractmethod
    def live(self, number: int, transport: Transport) -> None:
        """Be the user `number`, to its end."""

    @abstractmethod
    def conduct(self) -> None:
        """Lead the users through the run; returns when all is quiet."""

    @abstractmethod
    def release(self) -> None:
        """Let every user that still waits go home."""

    @abstractmethod
    def now(self) -> Now:
        """Where the run is, for people."""

    def clear_away(self) -> None:
        """Remove what `equip` has made and what must not stay. Nothing of the run goes on by then."""

    def wait_for(self, what: str, within_s: float) -> bool:
        """Whether all users have `settled` that much in time."""
        deadline = time.monotonic() + within_s
        while self.settled[what] < self.run.scenario.devices and time.monotonic() < deadline:
            gevent.sleep(0.02)
        return self.settled[what] >= self.run.scenario.devices

    def at(self, when: float, act: Callable[[], Any]) -> None:
        """Call it at this server time, or at once when that is past."""
        gevent.sleep(max(0.0, when - self.run.clock.now()))
        act()

    def abandon(self, why: str) -> None:
        """Stop everything at once: Ctrl-C, or the driver ended the run. Nothing it measured proves anything."""
        self.run.interrupted = True
        self.run.doubts.append(why)
        self.arranged.set()
        self.release()
        self.greenlets.kill(timeout=2.0)
