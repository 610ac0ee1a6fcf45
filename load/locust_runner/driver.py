"""One run whose users Locust starts, from start to artifacts, for Locust and for our own runner alike.

The verdict is ours: Locust's statistics are never asked, and its exit code is overruled.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import gevent
from locust.contrib.fasthttp import FastHttpSession
from locust.env import Environment

from harness.settings import Target
from load.engine import Engine
from load.locust_runner.transport import LocustTransport, trusted
from load.measurements.run import OVER, Run
from load.platform.demonstration import PlatformLoop
from load.progress import Now
from load.simulation.control_loop import ControlLoop
from load.simulation.fanout import FanoutSimulation
from load.students.demonstration import DemonstrationLoop
from load.students.mixed import MixedLoop
from load.students.multi_lab import LabsLoop
from load.verdict.verdict import write_verdict
from load.workloads.catalogue import OfUsers
from load.workloads.platform import PlatformShow
from load.workloads.simulation import Fanout, Profile
from load.workloads.students import Demonstration, Mixed, MultiLab

# Its default is one: scrapes would wait for the commands that go on, and their latency be our own doing.
_ADMIN_CONNECTIONS = 32


def _engine(scenario: OfUsers, target: Target, admin: LocustTransport, seed: int | None) -> Engine[Any, Any]:
    if isinstance(scenario, Fanout):
        return FanoutSimulation(scenario, target, admin, seed)
    if isinstance(scenario, Mixed):
        return MixedLoop(scenario, target, admin, seed)
    if isinstance(scenario, Demonstration):
        return DemonstrationLoop(scenario, target, admin, seed)
    if isinstance(scenario, PlatformShow):
        return PlatformLoop(scenario, target, admin, seed)
    if isinstance(scenario, MultiLab):
        return LabsLoop(scenario, target, admin, seed)
    assert isinstance(scenario, Profile)
    return ControlLoop(scenario, target, admin, seed)


class Driver:
    """Conducts one run in a Locust environment whose users call `live`."""

    def __init__(self, environment: Environment, scenario: OfUsers, target: Target, seed: int | None = None) -> None:
        session = FastHttpSession(
            target.base_url,
            environment.events.request,
            user=None,
            insecure=False,
            ssl_context_factory=trusted,
            network_timeout=scenario.request_timeout_s,
            connection_timeout=scenario.request_timeout_s,
            max_retries=0,
            concurrency=_ADMIN_CONNECTIONS,
        )
        self.engine = _engine(scenario, target, LocustTransport(session, target.base_url), seed)
        self._observations: Any = None
        self._numbers = itertools.count()
        self._conductor: gevent.Greenlet[[], None] | None = None

    @property
    def run(self) -> Run:
        run: Run = self.engine.run
        return run

    def begin(self) -> gevent.Greenlet[[], None]:
        """Start it; returns the greenlet that ends with the run."""
        self._conductor = gevent.spawn(self._conduct)
        return self._conductor

    def live(self, session: FastHttpSession) -> None:
        """What a Locust user does: be the next device, or student. Users beyond the scenario's number do nothing."""
        number = next(self._numbers)
        if number < self.run.scenario.devices:
            self.engine.live(number, LocustTransport(session, self.engine.target.base_url))

    def now(self) -> Now:
        """Where the run is, for people."""
        return self.engine.now()

    def end(self, why: str) -> None:
        """End a run that is not over: everything of it stops, and it is inconclusive. Harmless after its end."""
        if self._conductor is not None and not self._conductor.ready():
            self._conductor.kill(timeout=2.0)
            self.engine.abandon(why)

    def conclude(self, directory: Path) -> dict[str, Any]:
        """Judge the run as it stands and write its artifacts. Returns the document of result.json."""
        now = self.run.clock.now()
        self.run.enter(OVER, now)
        try:
            self.engine.clear_away()
        except Exception as error:  # noqa: BLE001  # it must be told, and the verdict written all the same
            self.run.doubt(error)
        return write_verdict(self.run, self.engine.criteria, self._observations, now, directory)

    def _conduct(self) -> None:
        try:
            self.engine.prepare()
            self.engine.conduct()
            if self.run.is_ready:
                self._observations = self.engine.observer.collect()
        except Exception as error:  # noqa: BLE001  # whatever broke in the harness, the run proves nothing
            self.run.doubt(error)
