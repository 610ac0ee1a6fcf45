"""A Locust file of a small fleet without a database, for a tiny server. It judges like the real ones, and compares the
server's own count with what was answered."""

from dataclasses import replace

from harness.devices.seeded_fleet import Fleet
from harness.http.client import Client
from harness.settings import Target
from load.arrival_rate.run import ArrivalRateRun
from load.arrival_rate.workload import Assignment, Checks, Observations, Subject
from load.locust_runner.locustfile import locust_file
from load.measurements.observations import Before, observed
from load.measurements.server_clock import ServerClock, this_machine
from load.verdict.check import Finding, RunCheck
from load.verdict.counters import exactly, grown
from load.workloads.arrival_rate import FLEET_SCALE


def _counted(run: ArrivalRateRun, seen: Observations) -> Finding:
    return grown(seen.metrics.get(), exactly("heartbeats", run.answered))


class SmallFleet(Subject):
    checks: Checks = (RunCheck("counters", "the server counted what was answered", _counted),)

    def __init__(self, target: Target) -> None:
        self._before = Before(target, Client(target.base_url))
        self._key = target.hmac_secret.encode()

    def clock(self) -> ServerClock:
        return this_machine()

    def begin(self, run: ArrivalRateRun) -> None:
        self._before.note(run.tag)

    def seed(self, whole: Assignment) -> None:
        """The server derives them, too."""

    def tokens(self, part: Assignment) -> list[str]:
        fleet = Fleet(self._key, part.run, int(part.origin * 1000))
        return [fleet.token(number) for number in part.own]

    def observe(self, run: ArrivalRateRun) -> Observations:
        return Observations(metrics=observed(lambda: self._before.metrics(run.tag), run))


# An odd number: the workers' shares differ.
User = locust_file(
    replace(FLEET_SCALE, devices=101, per_s=400.0, duration_s=3.0, pause_s=0.1, request_timeout_s=1.0, lag_ms=500.0),
    SmallFleet,
)
