"""The plan of a fleet: on its cadence, in order, and the same however many processes share it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load.arrival_rate.schedule import MEASURED, Leg, jitters
from load.workloads.arrival_rate import CAPACITY, FLEET_SCALE, STAGED

LEGS = st.builds(Leg, st.just(MEASURED), st.just(1000.0), st.floats(1, 500), st.integers(0, 200), st.integers(0, 30))


@given(LEGS, st.integers(1, 40), st.integers(1, 5))
def test_the_processes_together_send_exactly_the_plan_of_one(leg: Leg, devices: int, processes: int) -> None:
    jitter = jitters(devices, seed=1)
    parts = [list(leg.plan(jitter, index, processes)) for index in range(processes)]
    assert sorted(beat for part in parts for beat in part) == list(leg.plan(jitter))
    assert [len(part) for part in parts] == [leg.share(devices, n, processes) for n in range(processes)]
    assert all(beat.device % processes == index for index, part in enumerate(parts) for beat in part)


@given(LEGS, st.integers(1, 40))
def test_beats_come_in_order_and_within_the_leg(leg: Leg, devices: int) -> None:
    times = [beat.at for beat in leg.plan(jitters(devices, seed=2))]
    assert times == sorted(times)
    assert all(leg.start <= at <= leg.end for at in times)


def test_each_device_keeps_its_cadence() -> None:
    devices, cadence_s = 50, 10.0
    beats: dict[int, list[float]] = defaultdict(list)
    for beat in Leg(MEASURED, 0.0, devices / cadence_s, 3 * devices).plan(jitters(devices, seed=3)):
        beats[beat.device].append(beat.at)
    for device, (first, second, third) in beats.items():
        assert device / devices * cadence_s <= first <= (device + 1) / devices * cadence_s
        assert second - first == pytest.approx(cadence_s)
        assert third - second == pytest.approx(cadence_s)


def test_the_same_seed_gives_the_same_jitter() -> None:
    assert jitters(20, seed=4) == jitters(20, seed=4)
    assert jitters(20, seed=4) != jitters(20, seed=5)


def test_the_fleet_is_100_000_devices_at_120_seconds() -> None:
    assert FLEET_SCALE.per_s == pytest.approx(833.3, abs=0.1)
    assert [phase.requests for phase in FLEET_SCALE.phases] == [150_000]


def test_stages_rise_without_end() -> None:
    rates = [CAPACITY.per_s]
    while len(rates) < 9:
        rates.append(CAPACITY.next_rate(rates[-1]))
    assert rates == [100, 500, 1000, 1500, 2000, 2500, 3100, 3900, 4900]


@pytest.mark.parametrize("wrong", [{"devices": 0}, {"per_s": 0.0}, {"duration_s": 0.0}, {"per_s": float("nan")}])
def test_impossible_fleet_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"devices|rate|duration"):
        replace(FLEET_SCALE, **wrong)


def test_a_rate_that_rises_reaches_its_end_in_a_straight_line() -> None:
    leg = Leg(MEASURED, 100.0, 0.0, 3000, to_per_s=100.0)
    times = [at for _, _, at in leg.plan([0.0] * 10)]
    assert leg.duration_s == pytest.approx(60.0)
    assert times == sorted(times)
    per_s = [sum(100 + s <= at < 101 + s for at in times) for s in range(60)]
    assert per_s == pytest.approx([100 * (s + 0.5) / 60 for s in range(60)], abs=1)


def test_a_rate_may_fall_to_nothing() -> None:
    leg = Leg(MEASURED, 0.0, 100.0, 3000, to_per_s=0.0)
    times = [at for _, _, at in leg.plan([0.999] * 10)]
    assert times == sorted(times)
    assert times[-1] <= leg.end


def test_the_stages_are_those_of_the_source() -> None:
    assert sum(phase.requests for phase in STAGED.phases) == 498_000
    assert sum(phase.duration_s for phase in STAGED.phases) == STAGED.duration_s == 780.0
