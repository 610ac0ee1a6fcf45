"""Several of everything that works in the background, and a schema that changes under it: nothing is done twice."""

import itertools
from datetime import datetime

import pytest

from acceptance.chaos.assertions import Suffer
from acceptance.chaos.experiment import FLEET, NewScene
from acceptance.chaos.injections import background as faults
from acceptance.suite.case import case

RETENTION_EVERY_S = 2.0


@case("chaos/014")
def test_two_dispatchers_share_an_outbox(scene: NewScene, suffer: Suffer) -> None:
    """`nexmdm worker` beside `nexmdm serve`, and a slow FCM: each message is sent exactly once (001: durable)."""
    one = scene()
    suffer(one, "two dispatchers", faults.second_worker(faults.fcm_takes_its_time), times=3, kinds=("result",))


@case("chaos/015")
@pytest.mark.whole_run
def test_two_schedulers_run_retention_once(scene: NewScene, suffer: Suffer) -> None:
    """Of two schedulers, of whatever processes, one runs what is due (002: retention)."""
    one = scene(env={"NEXMDM_RETENTION_EVERY_S": f"{RETENTION_EVERY_S:g}"})
    suffer(one, "two schedulers", faults.second_worker(faults.five_periods(RETENTION_EVERY_S)))
    lines = [line for line in one.system.logs.tap.since(0) if line["event"] == "retention.cleanup"]
    runs = [datetime.fromisoformat(line["ts"]).timestamp() for line in lines if line["entity"] == "device_heartbeats"]
    assert len(runs) >= 5
    # A line comes at the end of its run, and a run takes as long as the machine lets it.
    gaps_s = [after - before for before, after in itertools.pairwise(sorted(runs))]
    short = [gap_s for gap_s in gaps_s if gap_s < RETENTION_EVERY_S / 2]
    assert not short, f"runs {short} s after the one before, the period is {RETENTION_EVERY_S:g} s"


@case("chaos/016")
def test_a_migration_under_load(scene: NewScene, suffer: Suffer) -> None:
    """The newest revision is taken back and applied again under load: writes go on, none is lost (README)."""
    # It takes away the tables of uploads.
    suffer(scene(), "migration under load", faults.migrated_again, times=3, kinds=FLEET, fleet_alone=True)
