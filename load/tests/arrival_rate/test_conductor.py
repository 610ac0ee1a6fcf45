"""The course of a run: a warm-up, then the rates that the scenario has, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.settings import Target
from load.arrival_rate.conductor import Conductor
from load.arrival_rate.schedule import MEASURED, WARM_UP, Leg
from load.arrival_rate.workers import Progress
from load.arrival_rate.workload import Assignment
from load.measurements.histogram import Timings
from load.measurements.tally import Tally
from load.tests.nobody import Nobody
from load.workloads.arrival_rate import ArrivalRate, Phase


@dataclass(frozen=True)
class Rising(ArrivalRate):
    @property
    def phases(self) -> Sequence[Phase]:
        return (Phase(10.0, 2.0), Phase(50.0, 1.0))


class Recorded:
    """A workers that answers at once, and keeps what it was told."""

    def __init__(self) -> None:
        self.legs: list[Leg] = []

    def configure(self, assignment: Assignment) -> None:
        self.assignment = assignment

    def run(self, leg: Leg) -> Tally:
        self.legs.append(leg)
        n = leg.requests
        return Tally(Timings(1.0, 10.0), planned=n, sent=n, answered=n)

    def progress(self) -> Progress:
        return Progress()

    def partial(self) -> None:
        pass

    def stop(self) -> None:
        pass


def test_the_rates_follow_one_another_and_are_judged_together(tmp_path: Path) -> None:
    workers, scenario = Recorded(), Rising("rising", devices=15, per_s=10.0, duration_s=3.0, pause_s=0.0)
    conductor = Conductor(scenario, Target("http://127.0.0.1:1", "k" * 20, "s" * 20), workers, Nobody(), 7)
    conductor.begin().join(timeout=5)
    assert [(leg.kind, leg.per_s, leg.requests, leg.first) for leg in workers.legs] == [
        (WARM_UP, 1500.0, 15, 0),
        (MEASURED, 10.0, 20, 0),
        (MEASURED, 50.0, 50, 5),
    ]
    assert (workers.assignment.devices, workers.assignment.seed) == (15, 7)
    assert conductor.conclude(tmp_path)["facts"]["heartbeats"] == "70 planned / 70 sent / 70 answered as wanted"
