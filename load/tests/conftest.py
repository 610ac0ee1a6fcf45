"""A whole simulation against a stand-in, in a few seconds: the profile's times are those of sim20, divided by five."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gevent
import pytest

from harness.settings import Target
from load.simulation import fcm_delivery, observer
from load.simulation.control_loop import ControlLoop
from load.simulation.observer import Observations
from load.tests.fake_backend import ADMIN_KEY, StandIn
from load.verdict.verdict import write_verdict
from load.workloads.simulation import LatencyLimits, Profile

QUICK = Profile(
    devices=12,
    duration_s=6.0,
    interval_s=(2.0, 3.0),
    bucket_s=2.0,
    edge_clear_s=0.2,
    duplicate_share=0.4,
    duplicate_gap_s=0.2,
    answer_after_s=(0.05, 0.1),
    message_within_s=1.0,
    settle_s=0.2,
    lag_ms=500.0,  # nine simulations share one thread here
    limits_ms=LatencyLimits(1000.0, 1000.0, 1000.0, 1000.0, 1000.0),  # how fast the machine is today is no subject
)


@dataclass
class Outcome:
    """What a finished simulation left: the simulation, what was observed, and the document of result.json."""

    simulation: ControlLoop
    seen: Observations | None
    document: dict[str, Any]
    directory: Path

    def status(self, check: str) -> str:
        return next(str(one["status"]) for one in self.document["checks"] if one["id"] == check)


def simulate(standin: StandIn, fcm_url: str) -> tuple[ControlLoop, float]:
    """The simulation, and when it ended by the clock of its run."""
    target = Target(standin.base_url, ADMIN_KEY, "secret-secret-secret", fcm_url=fcm_url, backend_pid=1)
    # Only the sound one is asked for a whole verdict, with as many scrapes as a p95 wants; nine such keep a core busy.
    profile = replace(QUICK, scrapes=10) if standin.faults - {""} else QUICK
    simulation = ControlLoop(profile, target, standin, seed=7)
    devices = [gevent.spawn(simulation.live, number, standin) for number in range(QUICK.devices)]
    simulation.prepare()
    simulation.conduct()
    gevent.joinall(devices, timeout=5)
    return simulation, simulation.run.clock.now()


def judge(simulation: ControlLoop, ended_at: float, directory: Path) -> Outcome:
    found = simulation.observer.collect() if simulation.run.is_ready else None
    document = write_verdict(simulation.run, simulation.criteria, found, ended_at, directory)
    return Outcome(simulation, found, document, directory)


FAULTS = (
    "",
    "no dedupe",
    "double send",
    "no heartbeats",
    "refuses one",
    "dead",
    "refuses tokens",
    "token in script",
    "spoils the APK",
)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Fault -> the outcome of a run against a stand-in that has it; "" has none. They mostly wait: all run at once."""
    standins = {f"http://fcm.test/{fault}": StandIn(QUICK.bucket_s, fault) for fault in FAULTS}
    with pytest.MonkeyPatch.context() as patch:
        for module in (fcm_delivery, observer):
            patch.setattr(module, "FcmControl", standins.__getitem__)
        runs = [gevent.spawn(simulate, standin, url) for url, standin in standins.items()]
        # All have ended before the first is judged: that costs CPU, and would make the heartbeats of others late.
        ended = [run.get() for run in runs]
        return {fault: judge(*one, tmp_path_factory.mktemp("run")) for fault, one in zip(FAULTS, ended, strict=True)}
