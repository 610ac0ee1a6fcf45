"""A subject that is nowhere: nothing is seeded, and nothing is seen."""

from __future__ import annotations

from load.arrival_rate.run import ArrivalRateRun
from load.arrival_rate.workload import Assignment, Checks, Observations, Subject
from load.measurements.server_clock import ServerClock, this_machine


class Nobody(Subject):
    """checks: what is asked all the same."""

    def __init__(self, checks: Checks = ()) -> None:
        self.checks = checks

    def clock(self) -> ServerClock:
        return this_machine()

    def begin(self, run: ArrivalRateRun) -> None:
        pass

    def seed(self, whole: Assignment) -> None:
        pass

    def tokens(self, part: Assignment) -> list[str]:  # noqa: ARG002  # the protocol's
        return []

    def observe(self, run: ArrivalRateRun) -> Observations:  # noqa: ARG002  # the protocol's
        return Observations()
