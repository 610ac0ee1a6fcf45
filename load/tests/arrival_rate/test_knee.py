"""One stage of a rising load: held, broken by the server, or by the generator itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from load.arrival_rate.knee import Climbed, climb, knee
from load.arrival_rate.run import End
from load.arrival_rate.schedule import MEASURED, Leg
from load.measurements.histogram import Timings
from load.measurements.tally import Tally
from load.workloads.arrival_rate import CAPACITY


def stage(
    per_s: float = 1000.0, took_s: float = 0.01, failed: int = 0, late: int = 0, lag_s: float = 0.001, **seen: Any
) -> Climbed:
    """A stage of 1,000 beats: `failed` of them without a good answer, `late` answered after its end."""
    tally = Tally(Timings(1.0, 10.0), planned=1000, sent=1000, in_time=1000 - failed - late, **seen)
    for n in range(1000):
        tally.timings.record("heartbeat", n / 1000, n / 1000 + took_s, ok=n >= failed)
        tally.lag.record(lag_s)
    return climb(tally, Leg(MEASURED, 1010.0, per_s, int(per_s)), 1000.0, CAPACITY)


def test_a_stage_within_all_limits_is_held_and_the_load_rises() -> None:
    climbed = stage()
    assert (climbed.stage.held, climbed.end, climbed.stage.note) == (True, None, "")
    assert stage(cpu_s=0.02).stage.generator_us == pytest.approx(20)
    assert (climbed.stage.from_s, climbed.stage.to_s) == (10.0, 11.0)


@pytest.mark.parametrize(
    "broken,note", [({"took_s": 0.2}, "p99"), ({"failed": 11}, "1.1% errors"), ({"late": 21}, "979 of 1000/s")]
)
def test_each_limit_ends_it(broken: dict[str, Any], note: str) -> None:
    climbed = stage(**broken)
    assert (climbed.stage.held, climbed.end) == (False, End.KNEE)
    assert note in climbed.stage.note


@pytest.mark.parametrize("bearable", [{"took_s": 0.09}, {"failed": 9}, {"late": 20}])
def test_what_is_just_within_is_held(bearable: dict[str, Any]) -> None:
    assert stage(**bearable).stage.held


def test_a_generator_at_its_end_is_not_the_servers_knee() -> None:
    climbed = stage(took_s=0.2, cpu=0.95)
    assert (climbed.stage.held, climbed.end) == (False, End.GENERATOR)
    assert "95% of a core" in climbed.stage.note


def test_a_lag_is_to_blame_where_it_makes_up_half_of_the_latency() -> None:
    assert stage(took_s=0.2, lag_s=0.15).end is End.GENERATOR
    assert stage(took_s=0.2, lag_s=0.05).end is End.KNEE


def test_a_busy_generator_that_still_holds_the_stage_goes_on() -> None:
    climbed = stage(cpu=0.95)
    assert (climbed.stage.held, climbed.end) == (True, None)


def test_the_last_rate_ends_it() -> None:
    assert stage(per_s=19_500.0).end is End.TOP


def test_a_stage_without_samples_is_not_held() -> None:
    climbed = climb(Tally(Timings(1.0, 10.0)), Leg(MEASURED, 0.0, 100.0, 100), 0.0, CAPACITY)
    assert (climbed.stage.held, climbed.stage.note) == (False, "no sample")


def test_the_knee_is_the_highest_stage_held() -> None:
    held, broken = stage().stage, stage(per_s=1500.0, took_s=0.2).stage
    assert knee([replace(held, offered_per_s=500.0), held, broken]) == 1000.0
    assert knee([broken]) is None
