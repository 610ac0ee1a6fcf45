"""Which rows the heartbeats of a simulation must have made: what is not certain is not counted as certain."""

from __future__ import annotations

import pytest

from load.measurements.samples import Sample
from load.measurements.server_clock import ServerClock
from load.simulation.run import DUPLICATE, HEARTBEAT, SimulatedDevice, SimulationRun
from load.workloads.heartbeat_rows import HeartbeatRows, pair
from load.workloads.simulation import SIM20


def beat(at: float, took: float = 0.01, device: str = "D01", status: int = 200, kind: str = HEARTBEAT) -> Sample:
    return Sample(kind, device, at, at, at + took, status)


def rows(*samples: Sample, uncertainty_s: float = 0.0) -> HeartbeatRows:
    run = SimulationRun(SIM20, "x", 1, frozenset(), 0.0, clock=ServerClock(0.0, uncertainty_s, "database"))
    run.devices = [SimulatedDevice("D01", ""), SimulatedDevice("D02", "")]
    run.samples.all = list(samples)
    return run.rows()


def test_duplicates_share_one_row() -> None:
    found = rows(beat(101.0), beat(105.0, kind=DUPLICATE), beat(112.0), beat(101.0, device="D02"))
    assert (found.sure, found.spans) == ({pair(0, 10), pair(0, 11), pair(1, 10)}, [])


def test_answer_in_the_next_bucket_may_have_either_row() -> None:
    found = rows(beat(109.9, took=0.3))
    assert (found.sure, found.spans) == (set(), [(0, 10, 11, True)])


def test_badly_known_clock_makes_heartbeats_near_the_edge_unsure() -> None:
    assert len(rows(beat(109.5), uncertainty_s=0.1).sure) == 1
    assert len(rows(beat(109.5), uncertainty_s=0.6).spans) == 1


@pytest.mark.parametrize("status,unsure", [(0, 1), (500, 1), (401, 0)])
def test_lost_answer_is_unsure_and_a_refusal_is_no_row(status: int, unsure: int) -> None:
    found = rows(beat(101.0, status=status))
    assert (found.sure, len(found.spans)) == (set(), unsure)
