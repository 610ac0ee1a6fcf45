"""The schedule keeps what the accounting relies on, for any seed. The server takes no part."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load.simulation.schedule import Heartbeat, plan
from load.workloads.catalogue import notes
from load.workloads.heartbeat_rows import bucket_of
from load.workloads.simulation import FLEET100, SIM20, Profile

STARTS = st.floats(1_700_000_000, 1_900_000_000)
SEEDS = st.integers(0, 2**32)
CLEAR = st.floats(0, 1.25)


def beats(start: float, seed: int, clear_s: float | None = None, profile: Profile = SIM20) -> list[Heartbeat]:
    return plan(profile, start, random.Random(seed), clear_s)


@given(STARTS, SEEDS, CLEAR)
def test_every_beat_keeps_clear_of_bucket_edges(start: float, seed: int, clear_s: float) -> None:
    for beat in beats(start, seed, clear_s):
        into = beat.at % SIM20.bucket_s
        assert clear_s - 1e-6 <= into <= SIM20.bucket_s - clear_s + 1e-6


@given(STARTS, SEEDS)
def test_first_beats_are_one_interval_apart_and_never_share_a_bucket(start: float, seed: int) -> None:
    firsts = [beat.at for beat in beats(start, seed) if not beat.duplicate]
    gaps = [later - earlier for earlier, later in pairwise(firsts)]
    assert all(10 - 1e-6 <= gap <= 15 + 1e-6 for gap in gaps)
    assert max(Counter(bucket_of(at, SIM20.bucket_s) for at in firsts).values()) == 1


@given(STARTS, SEEDS)
def test_duplicate_follows_its_first_beat_within_the_bucket(start: float, seed: int) -> None:
    planned = beats(start, seed)
    for earlier, later in pairwise(planned):
        assert earlier.at < later.at
        if later.duplicate:
            assert not earlier.duplicate
            assert bucket_of(earlier.at, SIM20.bucket_s) == bucket_of(later.at, SIM20.bucket_s)
            assert SIM20.duplicate_gap_s <= later.at - earlier.at + 1e-6 < SIM20.bucket_s
    assert not planned[0].duplicate


@given(STARTS, SEEDS)
def test_rate_is_that_of_the_profile(start: float, seed: int) -> None:
    firsts = [beat for beat in beats(start, seed) if not beat.duplicate]
    assert len(firsts) in (9, 10)  # 120 s at 12.5 s, from a random phase
    assert all(start <= beat.at < start + SIM20.duration_s for beat in firsts)


@given(STARTS, SEEDS)
def test_twenty_devices_have_the_samples_that_p95_wants(start: float, seed: int) -> None:
    planned = [beat for number in range(20) for beat in beats(start, seed + number)]
    duplicates = sum(beat.duplicate for beat in planned)
    assert len(planned) - duplicates >= 180
    assert duplicates > 0


@given(STARTS, SEEDS)
def test_same_seed_gives_the_same_schedule(start: float, seed: int) -> None:
    assert beats(start, seed) == beats(start, seed)


def test_no_schedule_is_pretended_where_none_can_keep_clear() -> None:
    with pytest.raises(ValueError, match="clear"):
        beats(0.0, 1, clear_s=1.3)


@pytest.mark.parametrize("wrong", [{"devices": 0}, {"devices": 101}, {"duration_s": 5}, {"interval_s": (5.0, 8.0)}])
def test_profile_that_could_not_work_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).removesuffix("_s")):
        Profile(**wrong)  # type: ignore[arg-type]  # parametrised


@given(STARTS, SEEDS)
def test_compressed_fleet_sends_as_many_beats_in_a_tenth_of_the_time(start: float, seed: int) -> None:
    compressed = FLEET100.compressed(10)
    planned = beats(start, seed, profile=compressed)
    assert len(planned) in (4, 5)
    assert planned[-1].at - start < 60
    assert max(Counter(bucket_of(beat.at, compressed.bucket_s) for beat in planned).values()) == 1
    assert not any(note.startswith("A quick look") for note in notes(compressed))
    assert notes(replace(FLEET100, duration_s=300).compressed(10))[0].startswith("A quick look")


@pytest.mark.parametrize("profile,factor", [(FLEET100, 11), (SIM20, 2), (FLEET100, 0.5), (FLEET100, math.nan)])
def test_cadence_that_would_meet_in_a_bucket_is_refused(profile: Profile, factor: float) -> None:
    with pytest.raises(ValueError, match="compress"):
        profile.compressed(factor)


@given(STARTS, SEEDS)
def test_fleet_posts_every_two_minutes_from_a_random_phase(start: float, seed: int) -> None:
    planned = beats(start, seed, profile=FLEET100)
    assert len(planned) in (4, 5)  # 600 s
    assert not any(beat.duplicate for beat in planned)
    assert all(116 - 1e-6 <= later.at - earlier.at <= 124 + 1e-6 for earlier, later in pairwise(planned))
