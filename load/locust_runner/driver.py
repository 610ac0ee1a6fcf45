"""One run from start to artifacts, for Locust and for our own runner alike. It shows nothing.

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
from load.locust_runner.transport import LocustTransport, trusted
from load.measurements.run import OVER
from load.simulation.control_loop import ControlLoop
from load.simulation.engine import Engine
from load.simulation.fanout import FanoutSimulation
from load.simulation.observer import Observations
from load.simulation.run import SimulationRun
from load.verdict.verdict import write_verdict
from load.workloads.simulation import Fanout, Profile, Simulated

# Its default is one: scrapes would wait for the commands that are under way, and their latency be our own doing.
_ADMIN_CONNECTIONS = 32


def _engine(scenario: Simulated, target: Target, admin: LocustTransport, seed: int | None) -> Engine:
    if isinstance(scenario, Fanout):
        return FanoutSimulation(scenario, target, admin, seed)
    assert isinstance(scenario, Profile)
    return ControlLoop(scenario, target, admin, seed)


class Driver:
    """Conducts one run in a Locust environment whose users call `live`. `document` is result.json once it is over."""

    def __init__(
        self, environment: Environment, scenario: Simulated, target: Target, directory: Path, seed: int | None = None
    ) -> None:
        self.environment = environment
        self.directory = directory
        self.document: dict[str, Any] | None = None
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
        self._numbers = itertools.count()
        self._conductor: gevent.Greenlet[[], None] | None = None

    @property
    def run(self) -> SimulationRun:
        return self.engine.run

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 2 inconclusive; a run without a document proves nothing."""
        return 2 if self.document is None else int(self.document["exit_code"])

    def begin(self) -> None:
        self._conductor = gevent.spawn(self._conduct)

    def live(self, session: FastHttpSession) -> None:
        """What a Locust user does: be the next device. Users beyond the profile's number do nothing."""
        number = next(self._numbers)
        if number < self.run.scenario.devices:
            self.engine.live(number, LocustTransport(session, self.engine.target.base_url))

    def _conduct(self) -> None:
        observations: Observations | None = None
        try:
            self.engine.prepare()
            self.engine.conduct()
            if self.run.is_ready:
                observations = self.engine.observer.collect()
        except Exception as error:  # noqa: BLE001  # whatever broke in the harness, the run proves nothing
            self.run.doubt(error)
        self._conclude(observations)
        self._stop_locust()

    def end(self, why: str) -> None:
        """End a run that is not over: everything of it stops, and it is inconclusive. Harmless after its end."""
        if self.document is not None:
            return
        if self._conductor is not None:
            self._conductor.kill(timeout=2.0)
        self.engine.abandon(why)
        self._conclude(None)

    def _conclude(self, observations: Observations | None) -> None:
        now = self.run.clock.now()
        self.run.enter(OVER, now)
        self.document = write_verdict(self.run, self.engine.criteria, observations, now, self.directory)

    def _stop_locust(self) -> None:
        runner, options = self.environment.runner, self.environment.parsed_options
        if runner is None:
            return
        if options is None or options.headless:
            runner.quit()
        else:
            runner.stop()  # the web page stays open
